"""Repeated sentences go from every place but the first, and nothing is cut in two."""

from pathlib import Path

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.text.dedup import columns, rolling, spill
from danlu.text.dedup.sentences import sentences
from danlu.text.dedup.substring import Substring
from danlu.text.document import Document, Dropped
from tests.text.dedup.running import documents, passages, run

NOTICE = "This notice stands in many documents. It says the same thing every time. Nobody reads it twice."
OWN = ["The first page is about rivers. ", "The second page is about mountains. ", "The third page is about seas. "]


def texts(found: list[Document | Dropped]) -> list[str]:
    return [after.text if isinstance(after, Document) else after.reason for after in found]


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_passage_stays_in_its_first_place_only(tasks: int, tmp_path: Path) -> None:
    found, facts = run(Substring(60, left=10), documents([own + NOTICE for own in OWN]), tmp_path, tasks)
    assert texts(found) == [OWN[0] + NOTICE, OWN[1].strip(), OWN[2].strip()]
    changes = [after.meta.get("changes") for after in found if isinstance(after, Document)]
    assert changes == [None, {"repeated_sentence": 3}, {"repeated_sentence": 3}]
    assert facts["documents"] == 3
    assert facts["repeated_passages"] == 2


def test_a_sentence_that_is_repeated_in_part_stays_whole(tmp_path: Path) -> None:
    first = "Alpha beta gamma delta epsilon zeta. The long passage ends here in the middle of something."
    second = "Quite another beginning, then gamma delta epsilon zeta. The long passage ends here in the middle of it."
    found, facts = run(Substring(20, left=1), documents([first, second]), tmp_path)
    assert facts["repeated_passages"] == 1
    assert texts(found) == [first, second]


def test_chinese_is_cut_between_sentences(tmp_path: Path) -> None:
    shared = "滚滚长江东逝水，浪花淘尽英雄。是非成败转头空。青山依旧在，几度夕阳红。"
    found, _ = run(
        Substring(20, left=5),
        documents([f"话说天下大势。{shared}", f"却说另有一事，甚是奇怪。{shared}后事如何？"]),
        tmp_path,
    )
    assert texts(found)[1] == "却说另有一事，甚是奇怪。后事如何？"


def test_length_and_left_decide(tmp_path: Path) -> None:
    given = documents([own + NOTICE for own in OWN])
    assert texts(run(Substring(99, left=10), given, tmp_path / "a")[0]) == [document.text for document in given]
    assert texts(run(Substring(60, left=40), given, tmp_path / "b")[0])[1:] == ["left_too_short", "left_too_short"]


def copied() -> list[str]:
    """Real passages, each with two others behind it that are cut at odd places."""
    own = list(passages(120, 60))
    return [f"{text}\n\n{own[(n * 7) % 60][n:]}\n\n{own[(n * 11) % 60][: -5 * n]}" for n, text in enumerate(own)]


def test_neither_tasks_nor_memory_change_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, step = documents(copied()), Substring(100, left=1)
    wanted, _ = run(step, given, tmp_path / "1")
    assert run(step, given, tmp_path / "7", 7)[0] == wanted
    monkeypatch.setattr(spill, "BUCKET", 1000)
    monkeypatch.setattr(rolling, "PIECE", 256)
    monkeypatch.setattr(rolling, "PLACE", np.uint64(255))
    monkeypatch.setattr(columns.batches, "__defaults__", (1000,))
    assert run(step, given, tmp_path / "small", 4)[0] == wanted


def test_what_is_cut_still_stands_somewhere(tmp_path: Path) -> None:
    given = copied()
    left = "\n".join(texts(run(Substring(100, left=1), documents(given), tmp_path)[0]))
    assert len(left) < 0.6 * sum(map(len, given))
    parts = {text[start:end].strip() for text in given for start, end in sentences(text)}
    assert [part for part in parts if len(part) <= 100 and part not in left] == []


def test_a_seam_of_two_passages_stays(tmp_path: Path) -> None:
    one, two = "the first passage has no end in sight and", "goes on to say what nobody has said before it"
    given = [f"Once {one} more.", f"Twice {two} more.", f"{one} {two}."]
    found, facts = run(Substring(30, left=1), documents(given), tmp_path)
    assert facts["repeated_passages"] == 2
    assert texts(found) == given


@pytest.mark.parametrize("given", [[], [""], ["\0" * 50] * 2, ["\ud800" * 500] * 3, ["", "短"]])
def test_odd_texts_go_through(given: list[str], tmp_path: Path) -> None:
    assert len(run(Substring(10), documents(given), tmp_path, 2)[0]) == len(given)


@pytest.mark.parametrize("settings", [{"length": 9}, {"length": 10_001}, {"left": 0}])
def test_senseless_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"recipe: {next(iter(settings))}"):
        Substring(**settings)
