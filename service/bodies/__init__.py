"""Reading request bodies and writing responses: JSON, NDJSON, spools, idempotency keys."""
