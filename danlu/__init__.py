"""Danlu (丹炉): raw text to a language model you can talk to."""

__version__ = "0.1.0"
__all__ = ["__version__"]
