"""Benchmarks of the search and of bulk scoring."""
