"""The OpenAPI document and its examples against the service, as in ``service/schemas/``."""
