"""From a query to a ranked list: user vectors, transfer, search. Imports bundle and search."""
