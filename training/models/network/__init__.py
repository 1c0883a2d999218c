"""DiffCDR trained by Algorithm 1, and its ablations."""
