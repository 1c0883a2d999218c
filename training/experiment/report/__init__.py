"""Reports of an experiment: tables, figures, Markdown and HTML."""
