"""Which items a list may contain: filters, availability, and the search among few items. Imports search and bundle."""
