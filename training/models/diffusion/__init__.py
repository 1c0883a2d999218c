"""The method itself: noise schedule, DPM-Solver, diffusion module, sampling, and the fold."""
