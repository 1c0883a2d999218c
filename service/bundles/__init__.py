"""Loading, verifying and swapping bundles; which bundle answers whom. Knows no HTTP."""
