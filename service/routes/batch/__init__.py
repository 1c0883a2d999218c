"""Recommendations for many users in one request, streamed both ways."""
