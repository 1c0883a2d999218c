"""Opt-outs, erasures and events: SQLite, Redis or nowhere. Knows no HTTP."""
