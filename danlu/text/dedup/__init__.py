"""Duplicates: exact ones for now. Near-duplicates (MinHash, SimHash, substrings) are steps of the same shape."""
