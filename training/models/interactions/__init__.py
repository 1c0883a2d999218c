"""Plain models of who has which items, one file each: neighbours, and linear maps of a history."""
