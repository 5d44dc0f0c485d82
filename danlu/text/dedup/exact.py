"""Exact deduplication: of texts that differ only in case and white space, the first one stays.

Memory: about 100 bytes a kept document (16 of hash, the rest Python's set), so ten million documents fit into
1 GB. A collision of 128-bit hashes is expected after 2^64 documents. An index on disk is left out until then.
"""

from danlu.text.document import Document, Dropped, fingerprint


class ExactDuplicates:
    """A step that remembers what it has seen."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, or ``duplicate`` if its like has passed before."""
        key = fingerprint(document.text)
        if key in self._seen:
            return Dropped("duplicate")
        self._seen.add(key)
        return document
