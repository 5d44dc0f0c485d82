"""The step: what it writes, that it writes it once, and that nothing makes it raise."""

import copy
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text import packages
from danlu.text.document import Document, Dropped
from danlu.text.redact.redact import DEFAULT, KINDS, PASSES, Redact, digest, find

TEXT = "电话13812345678，邮箱a.b@qq.com；Call (212) 555-1234 or a.b@qq.com."


def redacted(text: str, **settings_: Any) -> Document | Dropped:
    return Redact(**settings_)(Document(text, "t:1", "t", {"kept": 1}))


def test_replace_writes_kinds_and_counts_them() -> None:
    result = redacted(TEXT)
    assert isinstance(result, Document)
    assert result.text == "电话<PHONE>，邮箱<EMAIL>；Call <PHONE> or <EMAIL>."
    assert result.meta == {"kept": 1, "changes": {"redact.email": 2, "redact.phone": 2}}


def test_a_clean_document_is_the_same_object() -> None:
    document = Document("nothing to see in 2023, version 1.2.3.4", "t:1", "t")
    assert Redact()(document) is document


def test_kinds_choose() -> None:
    result = redacted(TEXT, kinds=("email",))
    assert isinstance(result, Document)
    assert "13812345678" in result.text
    assert "@" not in result.text
    named = "王小明先生"
    assert redacted(named) == Document(named, "t:1", "t", {"kept": 1})
    named_too = redacted(named, kinds=KINDS)
    assert isinstance(named_too, Document)
    assert named_too.text == "<NAME>先生"


def test_hash_keeps_equal_values_equal() -> None:
    result = redacted(TEXT, how="hash", salt="s")
    assert isinstance(result, Document)
    first, second = result.text.split("<EMAIL:")[1:]
    assert first[:16] == second[:16]
    assert first[:16].isalpha()
    assert digest("phone", "138-1234-5678", "s") == digest("phone", "１３８１２３４５６７８", "s")
    assert digest("email", "A@Q.com", "s") == digest("email", "a@q.com", "s")
    assert digest("phone", "13812345678", "s") != digest("phone", "13812345678", "t")
    assert digest("phone", "13812345678", "s") != digest("phone", "13812345679", "s")


def test_placeholder() -> None:
    result = redacted("to a@q.com", placeholder="[{kind} removed]")
    assert isinstance(result, Document)
    assert result.text == "to [EMAIL removed]"


def test_drop() -> None:
    assert redacted(TEXT, how="drop") == Dropped("private", "email 2, phone 2")
    assert redacted(TEXT, how="drop", drop_from=4) == Dropped("private", "email 2, phone 2")
    kept = redacted(TEXT, how="drop", drop_from=5)
    assert isinstance(kept, Document)
    assert "13812345678" not in kept.text


def test_the_longer_then_the_more_specific_wins() -> None:
    iban = "DE89370400440532013000"
    assert [match.kind for match in find(f"call {iban} today")] == ["iban"]
    assert [match.kind for match in find("https://u:p4ssw0rd@mail.host.com")] == ["key"]
    resident = "11010519491231002X"
    assert [match.kind for match in find(f"电话{resident}")] == ["resident_id"]
    assert [match.kind for match in find("secret=k3y9zhang@qq.com/Zx81")] == ["key"]  # with an address in it
    assert [match.kind for match in find("secret=k3y9zhang@qq.com")] == ["key"]  # the same characters


@pytest.mark.parametrize(
    "given_settings",
    [
        {"kinds": ()},
        {"kinds": ("email", "email")},
        {"kinds": ("mail",)},
        {"how": "erase"},
        {"how": "hash"},
        {"placeholder": "138{kind}"},
        {"placeholder": "a@b.com"},
        {"placeholder": "{kind} {other}"},
        {"placeholder": "x" * 60},
        {"drop_from": 0},
    ],
)
def test_senseless_settings(given_settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="recipe: "):
        Redact(**given_settings)


def test_as_a_recipe_and_a_copy() -> None:
    step = Redact(kinds=("email", "key"), how="hash", salt="s")
    assert from_dict(Redact, to_dict(step)) == step
    assert copy.deepcopy(step) == step
    assert Redact().kinds == DEFAULT


# Pieces that border each other in ways nobody foresees: a find that goes makes its neighbour one.
PIECES = (
    "+ - . @ : / ( 0 ) 7 ， 话 8.8.8.8 a@b.com +86 电话 api_key= GB82WEST12345698765432 11010519491231002X 62 http 0f"
    " 护照E12345678 \ud800 \x00 １３８１２３４５６７８ sk- < > 555 2001:4860::1 ://u:p4ss@ 王先生"
)
SPACED = (" ", "\n", "138 1234 5678", "4111 1111 1111 1111", "call ", "-----BEGIN PRIVATE KEY-----")
pieces = st.sampled_from([*PIECES.split(), *SPACED])
awkward = st.lists(st.one_of(pieces, st.text(max_size=4)), max_size=25).map("".join)
steps = [Redact(kinds=KINDS), Redact(kinds=KINDS, how="hash", salt="s"), Redact(placeholder="")]


@settings(max_examples=400, deadline=None)
@given(awkward, st.sampled_from(steps))
def test_twice_is_once_and_nothing_is_left(text: str, step: Redact) -> None:
    once = step(Document(text, "t:1", "t"))
    assert isinstance(once, Document)
    assert find(once.text, step.kinds) == []
    again = step(once)
    assert again is once


@settings(max_examples=200, deadline=None)
@given(awkward)
def test_finds_are_in_order_and_apart(text: str) -> None:
    found = find(text, KINDS)
    assert all(match.start < match.end <= len(text) for match in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_positions_hold_behind_every_kind_of_character() -> None:
    for before in ("话", "é", "🙂", "\u3000", "ﬁ", "İ", "e\u0301", "\ud83d", ""):
        text = f"{before * 3}a.b@qq.com "
        assert [text[m.start : m.end] for m in find(text)] == ["a.b@qq.com"], before


@pytest.mark.parametrize("text", ["9" * 200_000, "1 " * 100_000, "a@" * 50_000, "://a:" * 40_000, "key=" * 50_000,
                                  "-----BEGIN PRIVATE KEY-----" * 4_000, "1.1." * 50_000, "2001:" * 40_000])  # fmt: skip
def test_hostile_texts_end(text: str) -> None:
    """Each took minutes with a pattern that is quadratic in it; together they take about two seconds."""
    assert isinstance(redacted(text), Document)


def test_clean_text_of_packages_stays() -> None:
    """Chinese prose has nothing private; the library's documentation shows addresses and little else."""
    kinds = {match.kind for document in packages.documents("sanguo") for match in find(document.text)}
    assert kinds == set()
    counts = dict.fromkeys(KINDS, 0)
    for document in islice(packages.documents("python"), 120):
        for match in find(document.text):
            counts[match.kind] += 1
    assert {kind for kind, number in counts.items() if number} <= {"email", "ip"}
    assert counts["ip"] <= 5


def test_passes_are_enough_for_what_people_write() -> None:
    assert PASSES >= 5
