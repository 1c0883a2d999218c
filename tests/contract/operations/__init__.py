"""The operator's routes, as in ``service/routes/operations/``. The console's own tests are in ``tests/console/``."""
