"""DiffCDR runtime: what a bundle is, and how to go from a user to a ranked list.

NumPy, pydantic and (for maps that do not fold) ONNX Runtime. No torch, no web framework, no database client.
"""

__version__ = "0.1.0"
