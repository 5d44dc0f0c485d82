"""Which rows an extension added."""

from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.tokens.extending.note import EXTENSION, first_new_row


def test_what_an_extension_says(tmp_path: Path) -> None:
    assert first_new_row(tmp_path, 61) is None
    for said, wanted in ((50, 50), (61, None)):
        (tmp_path / EXTENSION).write_text(f'{{"old_vocab": {said}}}')
        assert first_new_row(tmp_path, 61) == wanted
    for text, sentence in (
        ('{"old_vocab": 62}', "begin at 62"),
        ('{"old_vocab": 0}', "begin at 0"),
        ("{}", "does not say"),
        ("[", "does not"),
    ):
        (tmp_path / EXTENSION).write_text(text)
        with pytest.raises(UserError, match=sentence):
            first_new_row(tmp_path, 61)
