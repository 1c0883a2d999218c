"""Feedback routes: events, and the experiments that compare two bundles."""
