"""Systems that the paper discusses and does not evaluate, one file each, settings included."""
