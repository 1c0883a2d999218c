"""``diffcdr.client`` against the real service."""
