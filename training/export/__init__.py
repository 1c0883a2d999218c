"""Writes a finished model as a bundle; chooses nothing."""
