"""One file per REST resource. The top of the service: imports every other room, and only the application imports it."""
