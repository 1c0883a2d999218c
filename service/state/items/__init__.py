"""Changes of items while the service runs: whether they are available, and their tags."""
