"""What comes back of lists: events, and what they say of two bundles."""
