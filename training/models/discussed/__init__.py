"""Systems that the paper discusses but does not evaluate; one file each, including settings."""
