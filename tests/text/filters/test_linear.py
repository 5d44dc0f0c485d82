"""The classifier: features against a plain count, gradients against differences, and that it learns."""

import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from danlu.base.errors import UserError
from danlu.text.filters import linear
from danlu.text.filters.linear import LinearModel, features, spelled, train
from danlu.text.units import FOLLOWING, units

BITS = 12
TOPICS = {
    "good": (
        "the river runs slowly past old houses",
        "她在河边慢慢地走着",
        "we read a long and quiet book",
        "山里的空气很新鲜",
    ),
    "bad": (
        "BUY now!!! cheap pills click here",
        "免费领取！！！点击链接",
        "win $$$ cash prize today!!!",
        "加微信送豪礼！！！",
    ),
}


def heap(kind: str, number: int, seed: int = 0) -> list[str]:
    """Texts of one kind, all different, with words in common with the other."""
    draw = random.Random(f"{kind}{seed}")
    common = [f"w{i}" for i in range(40)]
    return [" ".join([*draw.sample(TOPICS[kind], 2), *draw.choices(common, k=6), str(n)]) for n in range(number)]


@pytest.fixture(scope="module")
def model() -> LinearModel:
    return train(heap("good", 120), heap("bad", 90), bits=BITS)


def plain_features(text: str) -> list[int]:
    """By hand: units, pairs, and triples of Chinese characters, hashed by Horner's rule."""
    found = units(text, marks=True)
    numbers, single = found.hashes.tolist(), [kind == 2 for kind in found.kinds.tolist()]
    ids = list(numbers)
    ids += [(a * FOLLOWING + b) % 2**64 for a, b in itertools.pairwise(numbers)]
    for i in range(len(numbers) - 2):
        if all(single[i : i + 3]):
            a, b, c = numbers[i : i + 3]
            ids.append(((a * FOLLOWING + b) * FOLLOWING + c) % 2**64)
    return [number >> (64 - BITS) for number in ids]


@pytest.mark.parametrize(
    "text", ["", "one", "one two, three!", "天地玄黄", "mixed 中文 and English 文字中", "a 中文字 b"]
)
def test_features_are_what_they_say(text: str) -> None:
    assert sorted(features(text, BITS).tolist()) == sorted(plain_features(text))


def test_it_learns_and_says_how_well(model: LinearModel) -> None:
    facts = model.facts
    assert facts["texts"] == {"good": 120, "bad": 90}
    assert 30 <= facts["held_out"] <= 55
    assert facts["auc"] > 0.99
    assert facts["auc_interval"][0] < facts["auc"] <= facts["auc_interval"][1]
    assert facts["f1"] > 0.95
    assert facts["calibration_error"] < 0.1
    for kind, low, high in (("good", 0.5, 1.0), ("bad", 0.0, 0.5)):
        for text in heap(kind, 20, seed=1):
            assert low <= model.probability(text) <= high


def test_it_says_what_it_learned(model: LinearModel) -> None:
    names = {side: [name for name, _ in found] for side, found in model.facts["learned"].items()}
    assert {"!", "$"} <= set(names["bad"])
    assert any(word in TOPICS["good"][0].split() for word in names["good"])
    assert not set(names["good"]) & set(names["bad"])
    assert all(0 < share < 1 for side in model.facts["learned"].values() for _, share in side)


def test_the_same_texts_and_seed_give_the_same_model(tmp_path: Path, model: LinearModel) -> None:
    again = train(heap("good", 120), heap("bad", 90), bits=BITS)
    for name, one in (("a", model), ("b", again)):
        one.save(tmp_path / name)
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (
        tmp_path / "b" / "weights.safetensors"
    ).read_bytes()
    assert (tmp_path / "a" / "model.json").read_bytes() == (tmp_path / "b" / "model.json").read_bytes()
    other = train(heap("good", 120), heap("bad", 90), bits=BITS, seed=1)
    assert (other.weights != model.weights).any()


@pytest.mark.parametrize("setting", [{"bits": 10}, {"epochs": 1}, {"rate": 0.1}, {"held_out": 0.4}])
def test_every_setting_changes_the_model(setting: dict[str, float], model: LinearModel) -> None:
    changed = train(heap("good", 120), heap("bad", 90), **({"bits": BITS} | setting))  # type: ignore[arg-type]
    assert changed.weights.shape != model.weights.shape or (changed.weights != model.weights).any()


def test_a_saved_model_says_the_same(tmp_path: Path, model: LinearModel) -> None:
    model.save(tmp_path)
    loaded = linear.load(tmp_path)
    texts = [*heap("good", 10), *heap("bad", 10), ""]
    assert [loaded.probability(text) for text in texts] == [model.probability(text) for text in texts]
    assert json.loads(json.dumps(model.facts)) == loaded.facts


def test_a_logit_is_a_sum_over_a_root() -> None:
    weights = np.arange(1 << BITS, dtype=np.float32) / 1000
    ids = plain_features("one two three")
    logit = sum(weights[i] for i in ids) / math.sqrt(len(ids)) + 0.5
    assert LinearModel(weights, bias=0.5).logit("one two three") == pytest.approx(logit, abs=1e-5)
    chance = 1 / (1 + math.exp(-(2 * logit - 3)))
    assert LinearModel(weights, 0.5, 2.0, -3.0).probability("one two three") == pytest.approx(chance, abs=1e-6)
    # A long text is judged as its average stretch: saying it all a hundred times more changes nothing.
    once, often = ("word " * n for n in (3000, 300_000))
    assert LinearModel(weights).logit(once) == pytest.approx(LinearModel(weights).logit(often), rel=1e-3)


def test_the_first_step_is_the_gradient() -> None:
    """After one step of AdaGrad each weight has moved by the rate, against the sign of its gradient."""
    texts, labels = ["only good words", "just bad ones"], np.array([True, False])
    examples = linear.Examples([features(text, BITS) for text in texts], labels)
    weights, _ = linear._adagrad(examples, np.arange(2), BITS, 1, 0.3, 0)
    for text, sign in zip(texts, (1, -1), strict=True):
        assert weights[features(text, BITS)] == pytest.approx(0.3 * sign, rel=1e-3)
    assert np.count_nonzero(weights) == len(
        set(features(" | ".join(texts), BITS).tolist()) & set(np.flatnonzero(weights))
    )


def test_copies_stay_on_one_side() -> None:
    """With every text ten times over, what is held out must be as new as without."""
    draw = random.Random(0)
    noise = [[" ".join(draw.choices("abcdefghijklmnop", k=12)) for _ in range(40)] for _ in range(2)]
    found = train(noise[0] * 10, noise[1] * 10, bits=BITS, epochs=20)
    assert 0.2 < found.facts["auc"] < 0.8  # a leak would show as an AUC near 1


def test_few_texts_and_texts_in_both() -> None:
    with pytest.raises(UserError, match="3 different 'bad' texts are too few"):
        train(heap("good", 20), heap("bad", 3) * 5)
    both = heap("good", 20)
    assert train(both, heap("bad", 20) + both[:3], bits=BITS).facts["in_both"] == 3


@pytest.mark.parametrize("text", ["", "\x00\ud800", "x" * 1_000_000, "好" * 200_000, "!" * 1000, "\n\n", "🙂" * 9])
def test_no_text_is_too_odd_to_judge(text: str, model: LinearModel) -> None:
    assert 0 <= model.probability(text) <= 1


def test_spelling_is_the_commonest() -> None:
    texts = ["Buy NOW", "buy now", "buy it", "新年快乐"]
    ids = features("buy now", BITS).tolist()
    assert [spelled(texts, set(ids), BITS)[i] for i in ids] == ["buy", "now", "buy now"]
    triple = features("新年快", BITS).tolist()[-1]
    assert spelled(texts, {triple}, BITS) == {triple: "新年快"}


@pytest.mark.parametrize("damage", ["kind", "format", "json", "weights", "shape", "number", "missing"])
def test_a_damaged_model_is_named(damage: str, tmp_path: Path, model: LinearModel) -> None:
    model.save(tmp_path)
    facts, weights = tmp_path / "model.json", tmp_path / "weights.safetensors"
    values = json.loads(facts.read_text(encoding="utf-8"))
    if damage in ("kind", "format", "number"):
        values |= {"kind": {"kind": "ngram"}, "format": {"format": 99}, "number": {"slope": "steep"}}[damage]
        facts.write_text(json.dumps(values), encoding="utf-8")
    elif damage == "json":
        facts.write_text("{", encoding="utf-8")
    elif damage == "weights":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "shape":
        LinearModel(model.weights[:1000]).save(tmp_path)
    else:
        weights.unlink()
    with pytest.raises(UserError) as error:
        linear.load(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "danlu quality" in str(error.value)
