"""An index holds each run once, whole, and says when it is not the one that is wanted."""

from pathlib import Path

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.text.dedup import index as module
from danlu.text.dedup.columns import place
from danlu.text.dedup.exact import Exact
from danlu.text.dedup.index import Index, matches
from danlu.text.dedup.minhash import MinHash
from danlu.text.dedup.simhash import SimHash
from tests.text.dedup.running import documents, dropped, edited, passages, run


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


@pytest.mark.parametrize("kind", [Exact, MinHash, SimHash])
def test_a_run_made_again_ends_as_it_did_and_adds_nothing(kind: type[MinHash], tmp_path: Path) -> None:
    step, texts = kind(index=tmp_path / "index"), list(passages())
    first = run(step, documents(texts[:30] + texts[:5], "a"), tmp_path / "1")
    second = run(step, documents(texts[20:50], "b"), tmp_path / "2")
    assert [reason.endswith("_of_index") for reason, _ in dropped(second[0]).values()] == [True] * 10
    held = segments(tmp_path / "index")
    assert len(held) == 2
    assert run(step, documents(texts[:30] + texts[:5], "a"), tmp_path / "3") == first
    assert run(step, documents(texts[20:50], "b"), tmp_path / "2") == second
    assert segments(tmp_path / "index") == held
    # The same texts under other ids are new data.
    third, _ = run(step, documents(texts[:30], "c"), tmp_path / "4")
    assert {detail.partition(":")[0] for _, detail in dropped(third).values()} == {"a"}
    assert len(dropped(third)) == 30


@pytest.mark.parametrize("kind", [Exact, MinHash, SimHash])
def test_a_run_killed_as_it_adds_leaves_the_index_as_it_was(
    kind: type[MinHash], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, given = kind(index=tmp_path / "index"), documents(list(passages())[:20])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "sync", killed)
        with pytest.raises(KeyboardInterrupt):
            run(step, given, tmp_path / "run")
    assert segments(tmp_path / "index") == []
    found, _ = run(step, given, tmp_path / "run")
    assert dropped(found) == {}
    assert len(segments(tmp_path / "index")) == 1


@pytest.mark.parametrize("kind", [Exact, MinHash, SimHash])
def test_what_was_dropped_is_not_in_the_index(kind: type[MinHash], tmp_path: Path) -> None:
    text = next(iter(passages()))
    run(kind(index=tmp_path / "index"), documents([text, text, text], "a"), tmp_path / "1")
    part = tmp_path / "index" / segments(tmp_path / "index")[0] / "00000"
    assert place(part, "ids").read_text(encoding="utf-8") == "a:0"


def test_other_settings_are_refused(tmp_path: Path) -> None:
    run(MinHash(index=tmp_path / "index"), documents(["a b c"]), tmp_path / "1")
    with pytest.raises(UserError, match=r"made with other settings .*shingle 5 → 4"):
        run(MinHash(index=tmp_path / "index", shingle=4), documents(["a b c"]), tmp_path / "2")
    with pytest.raises(UserError, match="kind minhash → exact"):
        run(Exact(index=tmp_path / "index"), documents(["a b c"]), tmp_path / "3")


def test_another_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is not an index"):
        Index(tmp_path, {"kind": "exact"})
    (tmp_path / "settings.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        Index(tmp_path, {"kind": "exact"})


def test_near_duplicates_of_the_index_go(tmp_path: Path) -> None:
    import random

    rng, texts = random.Random(0), list(passages())[:40]
    run(MinHash(index=tmp_path / "index"), documents(texts, "old"), tmp_path / "1")
    new = [edited(text, 2, rng) for text in texts]
    found, _ = run(MinHash(index=tmp_path / "index"), documents(new, "new"), tmp_path / "2")
    assert dropped(found) == {n: ("near_duplicate_of_index", f"old:{n}") for n in range(40)}


@pytest.mark.parametrize("fence", [1, 2, 7, 1000])
def test_matches_are_all_equal_pairs(fence: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FENCE", fence)
    rng = np.random.default_rng(fence)
    column, keys = (np.sort(rng.integers(0, 40, n).astype("<u8")) for n in (60, 50))
    place(tmp_path / "00000", "key").write_bytes(column.tobytes())
    found = sorted(
        (int(a), int(b)) for ours, theirs in matches(tmp_path / "00000", "key", keys, 99) for a, b in zip(ours, theirs)
    )
    assert found == [(a, b) for a in range(50) for b in range(60) if keys[a] == column[b]]
    assert not list(matches(tmp_path / "00000", "absent", keys, 99))
