"""The models that DiffCDR is compared with, one file each, settings included."""
