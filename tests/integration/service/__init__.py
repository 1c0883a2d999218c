"""The service in its own process: sockets, workers, stops, stores that fail."""
