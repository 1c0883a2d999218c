"""Benchmarks of training, data preparation and experiments."""
