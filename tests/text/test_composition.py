"""The composition of a corpus: every document on one side, halves that add up, bounds that hold, any text whatever."""

import json
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text import composition as module
from danlu.text.composition import Composition, host
from danlu.text.document import Document

WORDS = ("The woman is a good doctor. ", "他们说那位老人很善良。", "He was terrible. ", "Привет. ", "x1 -- ")


def documents(count: int, seed: int = 0) -> list[tuple[Document, str]]:
    """Documents with what became of them: "" for kept, or the reason."""
    chances, made = random.Random(seed), []
    for number in range(count):
        language = chances.choice(["en", "zh", None, "ru"])
        meta: dict[str, Any] = {"url": f"https://www.h{number % 7}.example/{number}"} if number % 3 else {}
        if language:
            meta["language"] = language
        if number % 11 == 0:
            meta["language_shares"] = {"en": 0.5, "zh": 0.5}
        text = "".join(chances.choices(WORDS, k=chances.randint(0, 40)))
        reason = chances.choice(["", "", "", "too_short", "near_duplicate", "duplicate_of_index", "duplicate_lines"])
        made.append((Document(text, f"s{number % 5}:{number}", f"s{number % 5}", meta), reason))
    return made


def count(items: list[tuple[Document, str]], **settings: Any) -> Composition:
    made = Composition(**settings)
    for document, reason in items:
        if reason:
            made.dropped(document, reason)
        else:
            made.kept(document)
    return made


def test_every_document_stands_on_one_side() -> None:
    items = documents(300)
    found = count(items).to_dict()
    reasons = Counter(reason for _, reason in items)
    assert found["kept"]["documents"] == reasons[""]
    assert found["filtered"]["documents"] == reasons["too_short"] + reasons["duplicate_lines"]
    assert found["copies"]["documents"] == reasons["near_duplicate"] + reasons["duplicate_of_index"]
    assert {reason: n for reason, (n, _) in found["reasons"]["counts"].items()} == {
        k: n for k, n in reasons.items() if k
    }
    for side, chosen in (
        ("kept", [d for d, r in items if not r]),
        ("filtered", [d for d, r in items if r == "too_short"]),
    ):
        size = sum(document.bytes for document in chosen)
        assert found[side]["bytes"] == size if side == "kept" else found[side]["bytes"] >= size
    kept = [document for document, reason in items if not reason]
    assert found["kept"]["characters"] == sum(len(document.text) for document in kept)
    languages = Counter(document.meta.get("language", "unknown") for document in kept)
    assert {name: n for name, (n, _) in found["kept"]["languages"]["counts"].items()} == languages
    hosts = Counter(host(document.meta["url"]) for document in kept if "url" in document.meta)
    assert {name: n for name, (n, _) in found["kept"]["domains"]["counts"].items()} == hosts
    assert found["kept"]["mixed"] == sum("language_shares" in document.meta for document in kept)
    assert sum(found["kept"]["lengths"]["bytes"]) == len(kept)
    assert sum(found["kept"]["scripts"].values()) == found["kept"]["characters"]


def test_scripts_are_told_apart() -> None:
    found = count([(Document("Ab9 汉字かナ한ДΩ א ع ह ไ。!é🙂𠀀\U000f0000", "a", "s"), "")]).to_dict()["kept"]["scripts"]
    assert found == {
        "Latin": 3, "Han": 3, "Kana": 2, "Hangul": 1, "Cyrillic": 1, "Greek": 1, "Arabic": 1, "Hebrew": 1, "Indic": 1,
        "Thai, Lao, Khmer, Burmese": 1, "digits": 1, "white space": 5, "emoji": 1, "punctuation and symbols": 2,
        "other": 1,
    }  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 120), max_size=4), order=st.randoms(use_true_random=False))
def test_any_division_among_workers_gives_the_same(cuts: list[int], order: random.Random) -> None:
    items = documents(120)
    borders = sorted({0, 120, *cuts})
    tasks = [items[begin:end] for begin, end in pairwise(borders)]
    order.shuffle(tasks)
    total = Composition()
    for task in tasks:
        order.shuffle(task)
        values = json.loads(json.dumps(count(task).to_dict()))
        total.merge(Composition.from_dict(values))
    assert total.to_dict() == count(items).to_dict()


def test_how_often_it_is_read_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    items = documents(100)
    whole = count(items).to_dict()
    monkeypatch.setattr(module, "BUFFER", 50)
    assert count(items).to_dict() == whole


def test_words_are_looked_for_where_they_mean_something() -> None:
    text = "her men 那位老人"
    for meta, found in (
        ({"language": "de"}, [0, 0]),
        ({"language": "en"}, [1, 0]),
        ({"language": "zh"}, [0, 1]),
        ({"language": "zh", "language_shares": {"zh": 0.6, "en": 0.4}}, [1, 1]),
        ({}, [1, 1]),
    ):
        people = count([(Document(text, "a", "s", meta), "")]).to_dict()["kept"]["people"]
        assert list(people["any"].values()) == found, meta
    copies = count([(Document(text, "a", "s"), "duplicate")]).to_dict()["copies"]["people"]
    assert copies["documents"] == 0  # the other one is looked at


def test_a_share_of_the_documents_is_chosen_by_their_names() -> None:
    items = [(Document("A good woman.", f"d{n}", "s", {"language": "en"}), "") for n in range(2000)]
    part, none = (count(items, share=share).to_dict() for share in (0.25, 0.0))
    looked_at = part["kept"]["people"]["documents"]
    assert 420 < looked_at < 580
    assert part["kept"]["people"]["groups"]["en"]["women"][0] == looked_at
    assert part["kept"]["documents"] == 2000
    assert part == count(items[::-1], share=0.25).to_dict()
    assert none["kept"]["people"]["documents"] == 0
    assert Composition.from_dict(part).share == 0.25


def test_samples_are_few_and_of_every_reason() -> None:
    items = documents(300)
    found = count(items).to_dict()["samples"]
    assert set(found) == {reason for _, reason in items}
    assert len(found[""]) == 20
    assert {len(rows) for reason, rows in found.items() if reason} == {5}
    texts = {document.id: document.text for document, _ in items}
    assert all(row["text"] == texts[row["id"]][:600] for rows in found.values() for row in rows)
    assert all(row["characters"] == len(texts[row["id"]]) for rows in found.values() for row in rows)


def test_memory_has_bounds() -> None:
    """Twenty thousand hosts, sources and lengths of names: what is kept is a few thousand counters."""
    made = Composition()
    for number in range(20_000):
        meta = {"url": f"https://h{number}.example/", "language": "en"}
        made.kept(
            Document("common" if number % 2 else "", str(number), f"source {number}" if number % 4 else "big", meta)
        )
    found = made.to_dict()
    assert len(found["kept"]["domains"]["counts"]) <= 8192
    assert 0 < found["kept"]["domains"]["error"] <= 20_000 / 4096
    big = found["kept"]["sources"]["counts"]["big"][0]
    assert 5_000 - found["kept"]["sources"]["error"] <= big <= 5_000
    assert not made._waiting


@pytest.mark.parametrize("text", ["", "\x00", "\ud800", "a" * 300_000, "汉" * 300_000, "\u202e\ufeff", "\n" * 99])
def test_any_text_is_counted(text: str) -> None:
    meta = {"url": "http://[", "language": "\ud800", "title": "\ud800", "language_shares": None}
    found = count([(Document(text, "\ud800", "\ud800", meta), reason) for reason in ("", "x\ud800"[:1])]).to_dict()
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    assert found["kept"]["documents"] == found["filtered"]["documents"] == 1
    assert found["kept"]["characters"] == len(text) == sum(found["kept"]["scripts"].values())


def test_metadata_of_any_kind_is_counted() -> None:
    for value in (7, [], {}, ["en"], None, "", 0.5):
        meta = {"language": value, "language_shares": value, "url": value, "title": value}
        assert count([(Document("she", "a", "s", meta), "")]).to_dict()["kept"]["people"]["any"]["en"] == 1


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://www.Example.com/a?b", "example.com"),
        ("HTTP://user:pw@a.b.c:8080#x", "a.b.c"),
        ("http://[::1]:80/", "[::1]"),
        ("https://例子.中国/", "例子.中国"),
        ("ftp://host", "host"),
        ("no url", "unknown"),
        ("https://", "unknown"),
        (None, "unknown"),
        (7, "unknown"),
    ],
)
def test_hosts(url: object, name: str) -> None:
    assert host(url) == name
