"""The loop over epochs and its checkpoints. Knows no model."""
