"""The n-gram model against a plain one with dictionaries, against the laws of probability, and on damaged text."""

import json
import math
import random
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.text import packages
from danlu.text.filters import measure, ngram
from danlu.text.filters.ngram import NgramModel, spelt, train

ENGLISH = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "12 cats, 34 dogs"] * 2
CHINESE = ["天地玄黄，宇宙洪荒。", "天地之间，日月盈昃。", "日月星辰，天地人和。"] * 2


class Plain:
    """Interpolated absolute discounting as the textbook has it, with every n-gram kept."""

    def __init__(self, texts: list[str], order: int, least: int) -> None:
        self.order = order
        self.counts: list[dict[str, Counter[str]]] = [defaultdict(Counter) for _ in range(order)]
        for text in texts:
            text = " ".join(text.split()).translate(str.maketrans("123456789", "0" * 9))
            for n in range(order):
                for i in range(n, len(text)):
                    self.counts[n][text[i - n : i]][text[i]] += 1
        self.discounts, self.kept = [], [dict[str, set[str]]() for _ in range(order)]
        for n in range(order):
            numbers = Counter(count for after in self.counts[n].values() for count in after.values())
            once, twice = numbers[1], numbers[2]
            self.discounts.append(once / (once + 2 * twice) if once else 0.5)
            for context, after in self.counts[n].items():
                known = n == 0 or context[-1] in self.kept[n - 1].get(context[:-1], set())
                wanted = {c for c, count in after.items() if count >= (least if n > 1 else 1)}
                self.kept[n][context] = wanted if known else set()

    def chance(self, context: str, character: str, n: int | None = None) -> float:
        """Of a character after a context of at most ``order - 1``."""
        n = min(self.order - 1, len(context)) if n is None else n
        if n < 0:
            return 1 / ngram.BOUNDARY
        own = context[len(context) - n :]
        after, lower = self.counts[n].get(own, Counter()), self.chance(context, character, n - 1)
        known = n == 0 or (len(own) > 0 and own[-1] in self.kept[n - 1].get(own[:-1], set()))
        if not after or not known:
            return lower
        total, kept, cut = sum(after.values()), self.kept[n].get(own, set()), self.discounts[n]
        left = 1 - sum(after[c] - cut for c in kept) / total
        seen = (after[character] - cut) / total if character in kept else 0.0
        return seen + left * lower

    def bits_per_byte(self, text: str) -> float:
        text = " ".join(text.split())
        plain = text.translate(str.maketrans("123456789", "0" * 9))
        nats = sum(-math.log(self.chance(plain[max(0, i - self.order + 1) : i], c)) for i, c in enumerate(plain))
        return nats / math.log(2) / len(text.encode())


@pytest.mark.parametrize(("order", "least"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 1), (5, 3)])
def test_it_is_absolute_discounting(order: int, least: int) -> None:
    model, plain = train(ENGLISH + CHINESE, order=order, bits=20, least=least), Plain(ENGLISH + CHINESE, order, least)
    for text in ("the cat sat", "the log on 7 dogs", "xyz", "天地人", "a 天 b", *ENGLISH[:2], *CHINESE[:2]):
        assert model.bits_per_byte(text) == pytest.approx(plain.bits_per_byte(text), abs=2e-5)


@pytest.mark.parametrize("bits", [4, 8, 20])
@pytest.mark.parametrize("context", ["", "the", "t ca", "天地", "zzz"])
def test_chances_add_up_to_one(bits: int, context: str) -> None:
    """Also in a table so small that most n-grams found no place in it."""
    model = train(ENGLISH + CHINESE, order=4, bits=bits, least=1)
    known = sorted({c for text in ENGLISH + CHINESE for c in text.translate(str.maketrans("123456789", "0" * 9))})
    codes = spelt(context, 3)

    def chance(character: str) -> float:
        return math.exp(model.logs(np.append(codes, spelt(character, 0)))[-1])

    total = sum(map(chance, known)) + (ngram.BOUNDARY - len(known)) * chance("\U0001f600")
    assert total == pytest.approx(1, abs=1e-4)


def test_a_long_text_is_the_sum_of_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = train(ENGLISH, order=5, bits=18, least=1)
    text = " ".join(random.Random(0).choices(" ".join(ENGLISH).split(), k=400))
    whole = model.bits_per_byte(text)
    monkeypatch.setattr(ngram, "PIECE", 37)
    assert model.bits_per_byte(text) == pytest.approx(whole, abs=1e-5)


def test_white_space_and_digits_are_spelt_one_way() -> None:
    model = train(ENGLISH, order=4, bits=16)
    assert model.bits_per_byte("the  cat\n\n 12") == model.bits_per_byte("the cat 98")
    assert model.bits_per_byte("") == model.bits_per_byte(" \n") == 0


def test_a_saved_model_says_the_same(tmp_path: Path) -> None:
    model = train(ENGLISH + CHINESE, order=4, bits=16)
    model.save(tmp_path / "a")
    loaded = ngram.load(tmp_path / "a")
    texts = ["the cat", "天地", "no such thing", ""]
    assert loaded.score(texts) == model.score(texts)
    assert loaded.facts == model.facts
    train(ENGLISH + CHINESE, order=4, bits=16).save(tmp_path / "b")
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("setting", [{"order": 3}, {"bits": 8}, {"least": 3}])
def test_every_setting_changes_the_scores(setting: dict[str, int]) -> None:
    plain, other = (train(ENGLISH, **({"order": 5, "bits": 16} | more)) for more in ({}, setting))
    assert plain.bits_per_byte("the dog sat on the mat") != other.bits_per_byte("the dog sat on the mat")


def test_it_tells_sense_from_salad() -> None:
    """Real documentation, half of it learned: shuffled words, other bytes and random letters must look worse."""
    texts = [d.text[:2000] for d in islice(packages.documents("python"), 60) if len(d.text) > 1500]
    model, draw = train(texts[::2], bits=20), random.Random(0)
    clean = texts[1::2]
    spoilt = []
    for number, text in enumerate(clean):
        words = text.split()
        draw.shuffle(words)
        letters = "".join(draw.choice("etaoinshrdlu") if c.isalpha() and draw.random() < 0.2 else c for c in text)
        spoilt.append([" ".join(words), letters, text.encode("utf-16-le").decode("latin-1")][number % 3])
    scores = np.array([-score for score in model.score(clean + spoilt)])
    good = np.arange(len(scores)) < len(clean)
    assert measure.auc(scores, good) > 0.85
    assert np.median(scores[good]) > np.median(scores[~good]) + 0.5


@pytest.mark.parametrize("text", ["\x00\ud800", "x" * 1_000_000, "\U0010ffff" * 50, "🙂"])
def test_no_text_is_too_odd(text: str) -> None:
    assert train(ENGLISH, order=3, bits=12).bits_per_byte(text) > 0


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no text to learn from"):
        train(["", "  "])
    train(ENGLISH, bits=10).save(tmp_path)
    values = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    for change in ({"bits": 4}, {"order": "six"}, {"kind": "linear"}):
        (tmp_path / "model.json").write_text(json.dumps(values | change), encoding="utf-8")
        with pytest.raises(UserError, match="danlu quality"):
            ngram.load(tmp_path)


def test_the_empty_model_knows_nothing() -> None:
    blank = NgramModel(2, *(np.zeros(4, kind) for kind in (np.uint32, np.float32, np.float32)))
    assert blank.bits_per_byte("a") == pytest.approx(math.log2(ngram.BOUNDARY), abs=1e-4)
