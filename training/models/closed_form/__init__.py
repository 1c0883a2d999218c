"""DiffCDR with diffusion and alignment in closed form, for lists."""
