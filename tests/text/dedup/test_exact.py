"""`Exact` keeps what a set in memory would keep, in any number of tasks, and what an index does not hold."""

import random
from pathlib import Path

import pytest

from danlu.text.corpus import CorpusStep
from danlu.text.dedup import spill
from danlu.text.dedup.exact import Exact
from danlu.text.document import Dropped, fingerprint
from tests.text.dedup.running import documents, dropped, run


def texts(number: int, kinds: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    change = (str.upper, str.title, lambda text: f"  {text}\n", lambda text: text.replace(" ", "\t\t"))
    return [rng.choice(change)(f"text 字 {rng.randrange(kinds)}") for _ in range(number)]


@pytest.mark.parametrize("tasks", [1, 3, 8])
@pytest.mark.parametrize("kinds", [1, 40, 100_000])
def test_it_keeps_what_a_set_would(kinds: int, tasks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BUCKET", 1000)
    given = documents(texts(500, kinds))
    found, facts = run(Exact(), given, tmp_path, tasks)
    seen: set[bytes] = set()
    keys = [fingerprint(document.text) for document in given]
    copies = [key in seen or seen.add(key) for key in keys]  # type: ignore[func-returns-value]
    assert [isinstance(after, Dropped) for after in found] == [bool(copy) for copy in copies]
    gone = dropped(found)
    for place, (reason, standing) in gone.items():
        first = int(standing.removeprefix("d:"))
        assert reason == "duplicate"
        assert first < place
        assert first not in gone
        assert given[first].text.casefold().split() == given[place].text.casefold().split()
    assert facts["documents"] == 500
    assert facts["dropped"] == ({"duplicate": len(gone)} if gone else {})
    if kinds == 40:
        sizes = sorted((1 + sum(s == f"d:{n}" for _, s in gone.values()) for n in range(500)), reverse=True)
        assert facts["clusters"] == sum(size > 1 for size in sizes)
        assert [size for _, size in facts["largest_clusters"]] == sizes[:5]
    if kinds == 1:
        assert facts["largest_clusters"] == [["d:0", 500]]
        assert facts["clusters"] == 1


def test_it_is_a_corpus_step_and_leaves_no_scratch(tmp_path: Path) -> None:
    assert isinstance(Exact(), CorpusStep)
    run(Exact(), documents(["a", "A"]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00000.fingerprints", "00000.ids", "00000.ids.ends", "00000.verdicts",
    ]  # fmt: skip


def test_new_data_are_judged_against_what_was_kept(tmp_path: Path) -> None:
    step, parts = Exact(tmp_path / "index"), [texts(300, 200, seed) for seed in range(4)]
    seen, ids = set[str](), dict[str, str]()
    for number, part in enumerate(parts):
        given = documents(part, f"run{number}")
        found, facts = run(step, given, tmp_path / str(number), 2)
        mine = set[str]()
        for document, after in zip(given, found, strict=True):
            key = " ".join(document.text.casefold().split())
            if key in seen:
                assert after == Dropped("duplicate_of_index", ids[key])
            elif key in mine:
                assert after == Dropped("duplicate", ids[key])
            else:
                assert after is document
                ids[key] = document.id
            mine.add(key)
        seen |= mine
        assert facts["index_documents"] == 300 * number


def test_one_run_over_everything_keeps_the_same(tmp_path: Path) -> None:
    parts = [texts(200, 150, seed) for seed in range(3)]
    one_by_one = [
        isinstance(after, Dropped)
        for number, part in enumerate(parts)
        for after in run(Exact(tmp_path / "index"), documents(part, f"r{number}"), tmp_path / str(number))[0]
    ]
    together, _ = run(Exact(), documents([text for part in parts for text in part]), tmp_path / "all")
    assert one_by_one == [isinstance(after, Dropped) for after in together]


@pytest.mark.parametrize("given", [[], [""], ["", " ", "\0", "\ud800", "\ud800 "]])
def test_odd_texts_go_through(given: list[str], tmp_path: Path) -> None:
    found, _ = run(Exact(tmp_path / "index"), documents(given), tmp_path / "run", 2)
    assert len(found) == len(given)
    assert len(dropped(found)) == len(given) - len({text.strip() for text in given})
