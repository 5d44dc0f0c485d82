"""Mentions, company and occupations: known sentences, a plain reference, and an interval that knows its clusters."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text import people as module
from danlu.text.lexicon import NONE, entries, find
from danlu.text.people import LANGUAGES, Counts, People, look, share
from danlu.text.wordlists import NEGATIONS_BEFORE

BOTH = frozenset(LANGUAGES)


def counted(*texts: str, spoken: frozenset[str] = BOTH) -> People:
    people = People()
    people.count(look(texts, [spoken] * len(texts)), range(len(texts)), [len(text.encode()) for text in texts])
    return people


def company(text: str, group: str, language: str = "en") -> tuple[int, int, int]:
    """Mentions, positive, negative."""
    row = counted(text).to_dict()["groups"][language].get(group, [0] * 7)
    return row[1], row[2], row[3]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The woman was wonderful.", (1, 1, 0)),
        ("The woman was not wonderful.", (1, 0, 1)),
        ("The woman wasn't at all wonderful.", (1, 0, 1)),
        ("The woman wasn't at all as wonderful.", (1, 1, 0)),  # too far away
        ("She isn’t bad.", (1, 1, 0)),
        ("The woman was wonderful and terrible.", (1, 0, 0)),
        ("The woman was there.", (1, 0, 0)),
        ("Woman, one two three four five six seven eight nine wonderful.", (1, 1, 0)),
        ("Woman, one two three four five six seven eight nine ten wonderful.", (1, 0, 0)),
        ("She told her mother a terrible story.", (3, 0, 3)),
    ],
)
def test_english_company(text: str, found: tuple[int, int, int]) -> None:
    assert company(text, "women") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("那位老人很善良。", (1, 1, 0)),
        ("那位老人不善良。", (1, 0, 1)),
        ("那位老人没有失败。", (1, 1, 0)),
        ("那位老人不错。", (1, 1, 0)),  # a word of its own, no negation
        ("老人" + "的" * 13 + "善良", (1, 1, 0)),
        ("老人" + "的" * 14 + "善良", (1, 0, 0)),
    ],
)
def test_chinese_company(text: str, found: tuple[int, int, int]) -> None:
    assert company(text, "older people", "zh") == found


def test_a_starred_word_counts_only_before_people() -> None:
    assert company("black ink, the old man, black women and white  students", "black people")[0] == 1
    assert company("black ink, the old man, black women and white  students", "white people")[0] == 1
    assert company("black ink, the old man, black women and white  students", "older people")[0] == 1
    assert company("disabled the option; blind trust", "disabled people")[0] == 0


def test_documents_do_not_reach_into_each_other() -> None:
    apart = counted("a terrible day", "the woman").to_dict()["groups"]["en"]["women"]
    assert apart == [1, 1, 0, 0, 0, 0, 0]
    assert counted("a terrible day the woman").to_dict()["groups"]["en"]["women"][3] == 1
    assert counted("black", "women").to_dict()["groups"]["en"].get("black people") is None


def test_only_the_languages_spoken_are_counted() -> None:
    text = "die her he hat; 那位老人"  # "her" and "he" are other words in other languages
    assert counted(text, spoken=frozenset()).to_dict()["groups"] == {"en": {}, "zh": {}}
    assert set(counted(text, spoken=frozenset({"zh"})).to_dict()["groups"]["zh"]) == {"older people"}
    assert set(counted(text, spoken=frozenset({"en"})).to_dict()["groups"]["en"]) == {"women", "men"}


def test_occupations_go_with_the_nearest_gender() -> None:
    found = counted(
        "She is a doctor, and much later he came. The nurse said that the man left. Engineers met.",
        "her doctor his",  # equally near: nobody's
    ).to_dict()["occupations"]["en"]
    assert found == {"doctor": [2, 1, 0], "nurse": [1, 0, 1], "engineer": [1, 0, 1]}
    assert counted("她是一名工程师。").to_dict()["occupations"]["zh"] == {"engineer": [1, 1, 0]}


PIECES = [
    "she", "he", "women", "black", "people", "not", "never", "good", "terrible", "awful", "doctor", "nurse", "the", "of",
    "same-sex", "t", "他", "她", "其他", "老人", "不", "没有", "优秀", "糟糕", "医生", "的", "是", "，", ". ", "\n",
]  # fmt: skip


def reference(texts: Sequence[str]) -> People:
    """The same counts, one word at a time."""
    people, all_entries = People(), entries()
    for text in texts:
        found = [(u, s, e, all_entries[n]) for u, s, e, n in zip(*(column.tolist() for column in find(text)))]
        for number, language in enumerate(LANGUAGES):
            own = [item for item in found if item[3].chinese == (language == "zh")]
            _count(people, number, own, (10, 15)[number])
    return people


def _count(people: People, language: int, own: list[tuple[int, int, int, object]], reach: int) -> None:
    words: list[tuple[int, int, int, module.Found]] = own  # type: ignore[assignment]
    signs: dict[int, int] = {}
    for place, (unit, start, _, entry) in enumerate(words):
        negated = any(e.negates and 0 <= unit - u <= 3 for u, _, _, e in words[: place + 1])
        before = words[place - 1] if place else None
        negated = negated or bool(before and before[3].text in NEGATIONS_BEFORE.split() and before[2] == start)
        if entry.polarity:
            signs[unit] = -entry.polarity if negated else entry.polarity
    mentions: dict[int, list[int]] = {}
    genders: list[tuple[int, int]] = []
    for place, (unit, _, _, entry) in enumerate(words):
        after = words[place + 1] if place + 1 < len(words) else None
        person = bool(after and after[3].person and after[0] == unit + 1)
        if entry.group != NONE and (person or not entry.only_before_person):
            near = sum(sign for at, sign in signs.items() if abs(at - unit) <= reach)
            mentions.setdefault(entry.group, []).append(near)
            if entry.group in (0, 1):
                genders.append((unit, entry.group))
    people.any[language] += bool(mentions)
    for group, nears in mentions.items():
        p, n = sum(near > 0 for near in nears), sum(near < 0 for near in nears)
        people.groups[language, group] += [1, len(nears), p, n, p * p, p * (p + n), (p + n) ** 2]
    for unit, _, _, entry in words:
        if entry.job != NONE:
            people.occupations[language, entry.job, 0] += 1
            distances = [min([abs(u - unit) for u, g in genders if g == gender], default=99) for gender in (0, 1)]
            if min(distances) <= reach and distances[0] != distances[1]:
                people.occupations[language, entry.job, 1 + (distances[1] < distances[0])] += 1


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join), min_size=1, max_size=4))
def test_counts_are_those_of_a_plain_search(texts: list[str]) -> None:
    made, wanted = counted(*texts), reference(texts)
    assert made.to_dict()["groups"] == wanted.to_dict()["groups"]
    assert made.to_dict()["occupations"] == wanted.to_dict()["occupations"]
    assert made.any.tolist() == wanted.any.tolist()


def test_parts_add_up_and_come_back() -> None:
    texts = ["She is a good doctor. 她很优秀", "Terrible men, he said.", "nothing", "Jewish women 和老人"]
    whole, first, second = counted(*texts), counted(*texts[:1]), counted(*texts[1:])
    second.merge(first)
    assert second.to_dict() == whole.to_dict()
    assert whole.documents == 4
    assert whole.to_dict()["any"] == {"en": 3, "zh": 2}
    assert People.from_dict(json.loads(json.dumps(whole.to_dict()))).to_dict() == whole.to_dict()


def test_a_long_text_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(["The woman was wonderful.", "x " * 30] * 20)
    whole = counted("short women", text, "he").to_dict()
    monkeypatch.setattr(module, "PIECE", 200)
    cut = counted("short women", text, "he").to_dict()
    assert whole["groups"]["en"]["women"][:4] == [2, 21, 20, 0]
    assert cut["groups"]["en"]["women"][:2] == [2, 21]  # no word is lost or met twice, and none leaves its document
    assert 15 <= cut["groups"]["en"]["women"][2] <= 20  # a cut hides what stands on its other side
    assert cut["groups"]["en"]["men"] == whole["groups"]["en"]["men"]


def test_single_mentions_are_worth_what_they_are() -> None:
    """With one mention a document the clusters are the mentions, and the binomial is recovered."""
    p, worth = share(Counts(100, 100, 30, 70, 30, 30, 100))
    assert (p, worth) == (0.3, pytest.approx(100))


def test_mentions_that_agree_within_documents_are_worth_fewer() -> None:
    """Ten mentions a document, all alike: worth as much as one."""
    p, worth = share(Counts(100, 1000, 300, 700, 30 * 100, 30 * 100, 100 * 100))
    assert (p, worth) == (0.3, pytest.approx(100))


def test_the_interval_covers_what_it_says() -> None:
    """Clusters of unequal size drawn 400 times: a 95 % interval from the worth holds the truth 91 to 99 % of the time."""
    chances, held = np.random.default_rng(1), 0
    from danlu.evaluate.stats import wilson

    for _ in range(400):
        sizes = chances.integers(1, 30, 80)
        rates = chances.beta(1.2, 0.8, 80)  # mean 0.6, far from alike
        good = chances.binomial(sizes, rates)
        total = int(sizes.sum()), int(good.sum())
        counts = Counts(
            80, total[0], total[1], total[0] - total[1], int((good**2).sum()), int((good * sizes).sum()),
            int((sizes**2).sum()),
        )  # fmt: skip
        p, worth = share(counts)
        low, high = wilson(p * round(worth), round(worth))
        held += low <= 0.6 <= high
    assert 0.91 <= held / 400 <= 0.99


def test_nothing_has_no_share() -> None:
    assert share(Counts(3, 5, 0, 0, 0, 0, 0)) == (0.5, 0.0)
    assert share(Counts(2, 2, 2, 0, 2, 2, 2)) == (1.0, 2.0)
