"""What the tests of the kinds share: the private parts of a text, written out."""

from danlu.text.redact.redact import KINDS, Kind, find


def private(text: str, kind: Kind) -> list[str]:
    """The values of one kind in ``text``, all kinds asked for, so that the one with the better claim wins."""
    return [text[match.start : match.end] for match in find(text, KINDS) if match.kind == kind]
