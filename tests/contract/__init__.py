"""The HTTP surface, over real connections, in rooms that mirror ``service/``."""
