"""The pages of ``docs/reference/`` that are made from the code: commands, HTTP, Python, Prometheus metrics."""
