"""Feedback on lists: recommendation ids, event types, and experiments that compare two bundles. Knows no HTTP."""
