"""One file per REST resource, in rooms by who asks. Imports every other room; only the application imports it."""
