"""What a bundle is: manifest, files, ids, titles; read and written whole. Imports nothing else of the runtime but its
ground floor.
"""
