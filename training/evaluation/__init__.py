"""Metrics of ratings and lists, with their errors. Knows no model."""
