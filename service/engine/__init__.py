"""Micro-batches and their timing; knows no HTTP. Imports diffcdr and the bundles it runs."""
