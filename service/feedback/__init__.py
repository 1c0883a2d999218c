"""What comes back of a list: ids that name it, kinds of events, and which of two models does better. Knows no HTTP."""
