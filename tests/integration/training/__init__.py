"""Training commands, whole: the choice of a model, presets, results pages, Spark."""
