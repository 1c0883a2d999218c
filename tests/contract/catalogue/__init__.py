"""Routes of ids, items, embeddings and the map, as in ``service/routes/catalogue/``."""
