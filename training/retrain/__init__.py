"""Training again with what users sent: compared with the active bundle, published if not worse, reported."""
