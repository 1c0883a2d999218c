"""Rating files: read, cleaned, paired, split. Knows no model."""
