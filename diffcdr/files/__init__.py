"""People's files as tables: packed, encoded and separated however they are. Knows ids and columns, not ratings.

Imports ``diffcdr.errors`` and ``diffcdr.bundle.ids`` alone of the project.
"""
