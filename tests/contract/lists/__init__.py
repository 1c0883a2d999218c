"""Routes of ranked lists, as in ``service/routes/lists/``."""
