"""Tests that want an NVIDIA GPU: `make gpu-check` runs them."""
