"""Lines of many documents go; what few documents share, or one repeats, stays."""

from collections import Counter
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.text.dedup import spill
from danlu.text.dedup.lines import Lines
from danlu.text.document import Document, Dropped
from tests.text.dedup.running import documents, run

MENU = "Home | About us | Contact | Search"


def page(number: int, *more: str) -> str:
    return "\n".join([MENU, "", f"The text of page number {number}, and quite a lot of it.", *more])


def texts(found: list[Document | Dropped]) -> list[str]:
    return [after.text if isinstance(after, Document) else after.reason for after in found]


@pytest.mark.parametrize("tasks", [1, 4])
@pytest.mark.parametrize("bucket", [100, 16 << 20])
def test_a_line_of_many_documents_stays_in_the_first(
    tasks: int, bucket: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "BUCKET", bucket)
    given = [page(number) for number in range(40)]
    found, facts = run(Lines(left=1), documents(given), tmp_path, tasks)
    assert texts(found) == [given[0], *(text.removeprefix(MENU).strip() for text in given[1:])]
    assert found[1].meta["changes"] == {"repeated_line": 1}  # type: ignore[union-attr]
    if bucket > 100:
        assert facts == {"documents": 40, "boilerplate": 1, "cut": 39}


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 1), ({"more_than": 9}, 1), ({"more_than": 10}, 10), ({"keep": "none"}, 0),
        ({"least": len(MENU) + 1}, 10), ({"unit": "paragraph"}, 1),
    ],
)  # fmt: skip
def test_each_setting_counts(settings: dict[str, object], kept: int, tmp_path: Path) -> None:
    found, _ = run(Lines(**{"left": 1, **settings}), documents([page(n) for n in range(10)]), tmp_path)  # type: ignore[arg-type]
    assert sum(MENU in text for text in texts(found)) == kept


def test_a_paragraph_is_compared_whole(tmp_path: Path) -> None:
    given = [
        f"A common first line of a paragraph\nand its line number {n}\n\nA common paragraph\nof two lines\n"
        for n in range(9)
    ]
    by_line, by_paragraph = (
        texts(run(Lines(unit=unit, left=1, least=10), documents(given), tmp_path / unit)[0])[1]
        for unit in ("line", "paragraph")
    )
    assert by_line == "and its line number 1"
    assert by_paragraph == "A common first line of a paragraph\nand its line number 1"


def test_case_and_spaces_do_not_separate_and_one_document_counts_once(tmp_path: Path) -> None:
    same = [f"text of page {n}\n" + MENU.upper().replace(" ", "  " * (n + 1)) for n in range(3)]
    often = ["own line of this document only\n" * 9]
    found, _ = run(Lines(more_than=2, left=1), documents(same + often), tmp_path)
    assert texts(found) == [same[0], "text of page 1", "text of page 2", often[0]]


def test_a_document_of_nothing_else_goes(tmp_path: Path) -> None:
    found, _ = run(Lines(left=10), documents([MENU] * 8), tmp_path)
    assert Counter(texts(found)) == {MENU: 1, "left_too_short": 7}


def test_a_hole_leaves_one_empty_line(tmp_path: Path) -> None:
    given = [f"Above it {n}\n\n{MENU}\n\nBelow it {n}\n\n\nApart {n}" for n in range(9)]
    found, _ = run(Lines(left=1), documents(given), tmp_path)
    assert texts(found)[3] == "Above it 3\n\nBelow it 3\n\n\nApart 3"


@pytest.mark.parametrize("given", [[], [""], ["\n\n", "\0\n\ud800" * 30, "x" * 100_000]])
def test_odd_texts_go_through(given: list[str], tmp_path: Path) -> None:
    for unit in ("line", "paragraph"):
        found, _ = run(Lines(unit=unit), documents(given), tmp_path / unit, 2)  # type: ignore[arg-type]
        assert texts(found) == given


@pytest.mark.parametrize(
    "settings", [{"unit": "word"}, {"more_than": 0}, {"keep": "last"}, {"least": 0}, {"left": 0}]
)  # fmt: skip
def test_senseless_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"recipe: {next(iter(settings))}"):
        Lines(**settings)  # type: ignore[arg-type]
