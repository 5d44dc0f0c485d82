"""Private data: one file a family of kinds, and `redact.py`, the step that replaces, hashes or drops."""
