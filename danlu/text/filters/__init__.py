"""Filters, one file each: a callable that hands a document on untouched or drops it for a reason."""
