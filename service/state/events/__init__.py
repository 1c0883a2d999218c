"""Events in a store: stored per user, counted per experiment, and read again for lists and training."""
