"""Every transfer model, one contract. Imports base models, fitting and evaluation; neither data nor configuration."""
