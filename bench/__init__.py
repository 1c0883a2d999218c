"""Benchmarks: ours against a baseline in one run. Imports everything; nothing imports it."""
