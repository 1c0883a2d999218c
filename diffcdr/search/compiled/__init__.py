"""The top-k search as compiled loops (extra ``fast``: numba)."""
