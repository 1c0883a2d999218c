"""Events in a store: what is kept of them, what is counted of them, and how they come out again."""
