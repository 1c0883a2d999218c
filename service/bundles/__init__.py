"""Loading, verifying and swapping bundles; which bundle answers which user. Knows no HTTP."""
