"""The steps that run on Spark: prepare, ALS, score."""
