"""Routes of events and experiments, as in ``service/routes/feedback/`` and ``service/feedback/``."""
