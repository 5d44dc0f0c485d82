"""The length filter: bounds included, characters and not bytes."""

import pytest

from danlu.base.errors import UserError
from danlu.text.document import Document, Dropped
from danlu.text.filters.length import Length


def test_it_counts_characters_and_includes_its_bounds() -> None:
    step = Length(3, 5)
    verdicts = [step(Document(text, "t:1", "t")) for text in ("ab", "三个字", "abcde", "abcdef")]
    assert verdicts[0] == Dropped("too_short")
    assert isinstance(verdicts[1], Document)
    assert isinstance(verdicts[2], Document)
    assert verdicts[3] == Dropped("too_long")


@pytest.mark.parametrize(("bounds", "key"), [((0, 5), "minimum"), ((6, 5), "maximum")])
def test_bounds_that_make_no_sense(bounds: tuple[int, int], key: str) -> None:
    with pytest.raises(UserError, match=f"recipe: {key}"):
        Length(*bounds)
