"""DiffCDR on what the biases leave, for predicted ratings."""
