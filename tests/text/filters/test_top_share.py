"""The best share against sorting everything in memory, whatever the tasks and their order."""

import itertools
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.text.corpus import CorpusStep
from danlu.text.document import Document, Dropped
from danlu.text.filters.top_share import Bands, Ranked, TopShare, group, rank

NUMBERS = [0.0, -0.0, 1.0, -1.5, 1e-300, -1e300, math.inf, -math.inf, 5e-324, 2, True, None, "high", math.nan, [1]]


def documents(scores: list[Any], **more: Any) -> list[Document]:
    return [Document("x", f"d{n}", f"s{n % 3}", {"quality": score, **more}) for n, score in enumerate(scores)]


def tasks_of(documents: list[Document], sizes: list[int]) -> list[list[Document]]:
    cut, place = [], 0
    for size in sizes:
        cut.append(documents[place : place + size])
        place += size
    return [*cut, documents[place:]]


def walk(
    step: Ranked, tasks: list[list[Document]], folder: Path
) -> tuple[dict[str, Document | Dropped], dict[str, Any]]:
    """Look in reverse order, as workers might; then decide and apply."""
    folder.mkdir(parents=True)
    for number in reversed(range(len(tasks))):
        step.look(iter(tasks[number]), folder, number)
    facts = step.decide(folder, len(tasks))
    found = {}
    for number in range(len(tasks)):
        for before, after in step.apply(iter(tasks[number]), folder, number):
            found[before.id] = after
    return found, facts


def kept(found: dict[str, Document | Dropped]) -> set[str]:
    return {name for name, after in found.items() if isinstance(after, Document)}


def plainly(step: TopShare, documents: list[Document]) -> set[str]:
    """By sorting, stable, so that the first of equals comes first."""
    result = set[str]()
    for name in {group(d, step.within) for d in documents}:
        own = [d for d in documents if group(d, step.within) == name]
        own.sort(key=lambda d: d.meta["quality"] * (1 if step.best == "lowest" else -1))
        low, high = (math.ceil(share * len(own) - 1e-9) for share in (step.skip, step.skip + step.share))
        result |= {d.id for d in own[low:high]}
    return result


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_it_keeps_what_sorting_keeps(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.5, 0.9, -0.0, 0.0, -3.0, math.inf, 7, 1e-9]), min_size=1))
    sizes = data.draw(st.lists(st.integers(0, 5), max_size=4))
    step = TopShare(
        best=data.draw(st.sampled_from(["highest", "lowest"])),
        within=data.draw(st.sampled_from(["all", "source", "language"])),
        share=data.draw(st.sampled_from([0.05, 0.3, 0.5, 0.9])),
        skip=data.draw(st.sampled_from([0.0, 0.1])),
    )
    given_documents = documents(scores, language="en")
    found, _ = walk(step, tasks_of(given_documents, sizes), tmp_path_factory.mktemp("t") / "run")
    assert list(found) == [d.id for d in given_documents]
    assert kept(found) == plainly(step, given_documents)


def test_tasks_do_not_matter(tmp_path: Path) -> None:
    draw = random.Random(0)
    given_documents = documents([draw.choice([0.25, 0.5, draw.random()]) for _ in range(200)])
    runs = [
        kept(walk(TopShare(share=0.4), tasks_of(given_documents, sizes), tmp_path / str(n))[0])
        for n, sizes in enumerate([[], [1, 1, 1], [50, 0, 100], [199]])
    ]
    assert len(runs[0]) == 80
    assert all(run == runs[0] for run in runs)


def test_reasons_and_facts(tmp_path: Path) -> None:
    given_documents = documents([0.9, 0.8, 0.1, None, math.nan, True, "0.7"])
    found, facts = walk(TopShare(share=0.4, skip=0.3), tasks_of(given_documents, [2]), tmp_path / "run")
    reasons = [after.reason if isinstance(after, Dropped) else "" for after in found.values()]
    # Of three numbers, ceil(0.3 * 3) = 1 is skipped and ceil(0.7 * 3) = 3 are above the lower cut.
    assert reasons == ["above_top_share", "", "", "no_score", "no_score", "no_score", "no_score"]
    assert facts == {"scored": 3, "above": {"": [1, 3]}}
    found, _ = walk(TopShare(share=0.5), tasks_of(given_documents, []), tmp_path / "more")
    assert found["d2"] == Dropped("below_top_share")


@pytest.mark.parametrize(
    "changes", [{"key": "other"}, {"best": "lowest"}, {"within": "source"}, {"share": 0.9}, {"skip": 0.2}]
)
def test_every_setting_changes_what_is_kept(changes: dict[str, Any], tmp_path: Path) -> None:
    scores = [0.1, 0.9, 0.2, 0.3, 0.8, 0.25, 0.7, 0.6, 0.65]
    given_documents = [
        Document(d.text, d.id, d.source, {**d.meta, "other": n}) for n, d in enumerate(documents(scores))
    ]
    plain, _ = walk(TopShare(share=0.4), [given_documents], tmp_path / "a")
    other, _ = walk(TopShare(**({"share": 0.4} | changes)), [given_documents], tmp_path / "b")
    assert kept(plain) != kept(other)


@pytest.mark.parametrize("best", ["highest", "lowest"])
def test_rank_is_an_order(best: Any) -> None:
    numbers = sorted([n for n in NUMBERS if isinstance(n, int | float) and n == n], key=float)
    ranks = [rank(float(number), best) for number in numbers]
    assert ranks == sorted(ranks, reverse=best == "highest")
    assert [a == b for a, b in itertools.pairwise(ranks)] == [a == b for a, b in itertools.pairwise(numbers)]
    assert all(0 <= number < 2**64 for number in ranks)


def test_bands_are_thirds(tmp_path: Path) -> None:
    given_documents = [Document("x", str(n), "s", {"bits_per_byte": (n * 7) % 10}) for n in range(10)]
    found, _ = walk(Bands(), [given_documents[:4], given_documents[4:]], tmp_path / "run")
    by_score = {d.meta["bits_per_byte"]: d.meta["band"] for d in found.values() if isinstance(d, Document)}
    assert [by_score[n] for n in range(10)] == ["head"] * 4 + ["middle"] * 3 + ["tail"] * 3
    found, _ = walk(Bands(keep=("head",)), [given_documents], tmp_path / "head")
    assert len(kept(found)) == 4
    assert sum(after == Dropped("low_band", "tail") for after in found.values()) == 3
    two, _ = walk(Bands(names=("a", "b"), keep=("a",), best="highest"), [given_documents], tmp_path / "two")
    assert kept(two) == {d.id for d in given_documents if d.meta["bits_per_byte"] >= 5}


def test_they_are_corpus_steps() -> None:
    assert isinstance(TopShare(), CorpusStep)
    assert isinstance(Bands(), CorpusStep)


def test_no_number_anywhere_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not one document has a number under 'quality'"):
        walk(TopShare(), [documents([None, "a"])], tmp_path / "run")


def test_empty_tasks_are_no_trouble(tmp_path: Path) -> None:
    found, _ = walk(TopShare(share=1.0), [[], documents([0.5]), []], tmp_path / "run")
    assert kept(found) == {"d0"}


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: TopShare(share=0.0), "share"),
        (lambda: TopShare(share=1.5), "share"),
        (lambda: TopShare(share=0.6, skip=0.5), "skip"),
        (lambda: TopShare(key=""), "key"),
        (lambda: TopShare(best="good"), "best"),  # type: ignore[arg-type]
        (lambda: TopShare(within="page"), "within"),  # type: ignore[arg-type]
        (lambda: Bands(names=("a",)), "names"),
        (lambda: Bands(names=("a", "a")), "names"),
        (lambda: Bands(keep=("best",)), "keep"),
        (lambda: Bands(keep=()), "keep"),
    ],
)
def test_senseless_settings_are_named(make: Any, key: str) -> None:
    with pytest.raises(UserError, match=f"recipe: {key}:"):
        make()
