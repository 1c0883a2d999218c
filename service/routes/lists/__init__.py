"""Ranked lists: recommendations of one user and of many, popular and similar items; and what their queries share."""
