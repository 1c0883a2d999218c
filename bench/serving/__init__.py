"""Benchmarks of the service: requests, load, soak."""
