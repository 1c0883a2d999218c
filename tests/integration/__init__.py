"""Several processes: commands, services, proxies, stores and Spark, as they are run."""
