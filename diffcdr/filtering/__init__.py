"""Which items a list may hold: filters, availability, and the search among few. Imports search and bundle."""
