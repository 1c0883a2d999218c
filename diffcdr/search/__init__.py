"""The k best items of many users: exact, compiled, or by an approximate index. Imports bundle/manifest and the ground
floor.
"""
