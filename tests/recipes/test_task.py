"""`danlu task train` and `danlu task predict`: each kind learns, transformers opens what is left, a stop costs nothing."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.cli import main, read
from danlu.model.adapters.settings import Freeze, Lora
from danlu.recipes.task import TrainTask, run, tasks_of
from danlu.recipes.task_predict import Predict, predict
from danlu.recipes.tasks.settings import Answers, Embed, Holes, Semi, Several
from danlu.train.loop import Loop
from danlu.train.settings import OptimizerSettings
from tests.task_world import BAD, GOOD, PEOPLE, PLACES, questions, reviews, sentences, write, write_model

ADAM = OptimizerSettings(name="adamw", lr=4e-3)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("encoder") / "model", encoder=True)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("decoder") / "model", encoder=False)


def recipe(model: Path, data: Path | tuple[str, ...], out: Path, **changes: Any) -> TrainTask:
    files = data if isinstance(data, tuple) else (str(data),)
    few: dict[str, Any] = {"length": 32, "batch_examples": 16, "epochs": 8, "evaluations": 1}
    few |= {"precision": "fp32", "optimizer": ADAM, "seed": 3}
    return TrainTask(**{"model": model, "data": files, "out": out} | few | changes)


def held_out(made: Artifact, name: str = "task") -> dict[str, Any]:
    found: dict[str, Any] = made.metrics["held_out"][name]
    return found


@pytest.fixture(scope="module")
def classified(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("classified")
    test = write(folder / "test.jsonl", reviews(48, seed=2))
    return run(recipe(encoder, write(folder / "data.jsonl", reviews()), folder / "out", held_out=(str(test),)))


def test_an_encoder_learns_labels_and_transformers_agrees(classified: Artifact) -> None:
    classified.verify()
    assert held_out(classified)["accuracy"] >= 0.9
    model = transformers.AutoModelForSequenceClassification.from_pretrained(classified.path).eval()
    words = transformers.AutoTokenizer.from_pretrained(classified.path)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.id2label == {0: "neg", 1: "pos"}
    texts = ["the tea was great", "the book was dull and the rain"]
    given = words(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = torch.softmax(model(**given).logits, -1)
    data = write(classified.path.parent / "new.jsonl", [{"text": text} for text in texts])
    out = classified.path.parent / "predictions.jsonl"
    assert predict(Predict(model=classified.path, data=(str(data),), out=out)) == {}
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    ours = torch.tensor([[row["probabilities"][label] for label in ("neg", "pos")] for row in rows])
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)
    assert [row["label"] for row in rows] == ["pos", "neg"]
    assert rows[0]["probability"] == rows[0]["probabilities"]["pos"]
    assert not out.with_suffix(".json").exists()


def test_predicting_with_labels_measures(classified: Artifact, tmp_path: Path) -> None:
    data = write(tmp_path / "known.jsonl", reviews(20))
    found = predict(Predict(model=classified.path, data=(str(data),), out=tmp_path / "p.jsonl", batch_examples=3))
    assert found == json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] <= high
    assert set(found["labels"]) == {"neg", "pos"}
    assert json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])["wanted"] == "pos"


def test_the_best_weights_are_left(encoder: Path, tmp_path: Path) -> None:
    test, data = write(tmp_path / "test.jsonl", reviews(48, seed=2)), write(tmp_path / "data.jsonl", reviews(48))
    wild: dict[str, Any] = {"held_out": (str(test),), "epochs": 12, "evaluations": 9, "keep": "best", "patience": 4}
    made = run(
        recipe(encoder, data, tmp_path / "out", **wild | {"optimizer": OptimizerSettings(name="adamw", lr=2e-2)})
    )
    lines = [json.loads(line) for line in (made.path / "metrics.jsonl").read_text().splitlines()]
    scores = {row["step"]: row["accuracy"] for row in lines if row["kind"] == "eval"}
    assert made.metrics["best_score"] == max(scores.values()) == held_out(made)["accuracy"]
    assert scores[max(scores)] < made.metrics["best_score"]
    found = predict(Predict(model=made.path, data=(str(test),), out=tmp_path / "p.jsonl"))
    assert found["accuracy"] == made.metrics["best_score"]


def test_a_decoder_learns_labels_at_its_last_token(decoder: Path, tmp_path: Path) -> None:
    test, data = write(tmp_path / "test.jsonl", reviews(48, seed=2)), write(tmp_path / "data.jsonl", reviews(160))
    made = run(recipe(decoder, data, tmp_path / "out", epochs=12, held_out=(str(test),)))
    assert held_out(made)["accuracy"] >= 0.85
    model = transformers.AutoModelForSequenceClassification.from_pretrained(made.path).eval()
    assert type(model).__name__ == "LlamaForSequenceClassification"
    assert "lm_head.weight" not in load_file(made.path / "model.safetensors")
    found = predict(Predict(model=made.path, data=(str(tmp_path / "data.jsonl"),), out=tmp_path / "p.jsonl"))
    words = transformers.AutoTokenizer.from_pretrained(made.path)
    with torch.no_grad():
        guessed = [model(**words(r["text"], return_tensors="pt")).logits.argmax().item() for r in reviews(160)]
    wanted = [["neg", "pos"].index(r["label"]) for r in reviews(160)]
    assert found["accuracy"] == pytest.approx(np.mean(np.equal(guessed, wanted)))


@pytest.mark.parametrize(
    ("kind", "method"), [("encoder", "lora"), ("decoder", "lora"), ("encoder", "freeze"), ("decoder", "freeze")]
)
def test_a_part_of_the_weights_is_enough(kind: str, method: Any, request: Any, tmp_path: Path) -> None:
    """The result is a whole directory like any other, in which only what was chosen has moved."""
    own: dict[str, Any] = {"lora": {"lora": Lora(rank=8, alpha=16)}, "freeze": {"freeze": Freeze(last_layers=1)}}[
        method
    ]
    model, data = request.getfixturevalue(kind), write(tmp_path / "data.jsonl", reviews())
    test = write(tmp_path / "test.jsonl", reviews(48, seed=2))
    own |= {"optimizer": OptimizerSettings(name="adamw", lr=2e-2), "epochs": 16} if method == "lora" else {}
    made = run(recipe(model, data, tmp_path / "out", held_out=(str(test),), method=method, **own))
    if (kind, method) != ("decoder", "freeze"):  # a random block and table that stay frozen tell too little
        assert held_out(made)["accuracy"] >= 0.9
    assert made.metrics["trained_parameters"] < made.metrics["parameters"]
    before = {name.removeprefix("bert."): value for name, value in load_file(model / "model.safetensors").items()}
    after = {name.removeprefix("bert."): value for name, value in load_file(made.path / "model.safetensors").items()}
    assert not any("lora" in name or ".base" in name for name in after)
    moved = {name for name in after if name in before and not torch.equal(before[name], after[name])}
    assert moved
    assert not any("norm" in name.lower() or "embed" in name for name in moved if method == "lora")
    assert all(".1." in name or name == "norm.weight" for name in moved) or method == "lora"
    transformers.AutoModelForSequenceClassification.from_pretrained(made.path)


@pytest.fixture(scope="module")
def tagged(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("tagged")
    lines = "\n\n".join("\n".join(f"{w}\t{t}" for w, t in zip(s["tokens"], s["tags"])) for s in sentences())
    (folder / "data.conll").write_text(lines, encoding="utf-8")
    return run(recipe(encoder, folder / "data.conll", folder / "out", kind="tag"))


def test_tags_are_learned(tagged: Artifact, tmp_path: Path) -> None:
    found = held_out(tagged)
    assert found["f1"] >= 0.9
    assert set(found["types"]) == {"PER", "LOC"}
    model = transformers.AutoModelForTokenClassification.from_pretrained(tagged.path).eval()
    assert list(model.config.id2label.values()) == ["B-LOC", "B-PER", "I-PER", "O"]
    data = write(tmp_path / "new.jsonl", [{"text": "Anna Dan was in Oslo."}, {"tokens": ["Ben", "saw", "Rome"]}])
    predict(Predict(model=tagged.path, data=(str(data),), out=tmp_path / "p.jsonl"))
    first, second = (json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines())
    assert first["tokens"] == ["Anna", "Dan", "was", "in", "Oslo", "."]
    assert {"type": "PER", "tokens": ["Anna", "Dan"]} in first["entities"]
    words = transformers.AutoTokenizer.from_pretrained(tagged.path)
    given = words(second["tokens"], is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        chances = torch.softmax(model(**given).logits[0, 1:-1], -1)
    ours = [model.config.label2id[tag] for tag in second["tags"]]
    expected = chances[torch.arange(3), ours]
    torch.testing.assert_close(torch.tensor(second["probabilities"]), expected, atol=2e-5, rtol=0)


def test_answers_are_found(encoder: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", questions(128))
    few: dict[str, Any] = {"kind": "qa", "epochs": 10, "qa": Answers(longest=3), "held_out_share": 0.2}
    made = run(recipe(encoder, data, tmp_path / "out", **few))
    assert held_out(made)["exact_match"] >= 0.8
    transformers.AutoModelForQuestionAnswering.from_pretrained(made.path)
    found = predict(Predict(model=made.path, data=(str(data),), out=tmp_path / "p.jsonl"))
    assert found["f1"] >= 0.8
    row = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert row["text_pair"][row["answer_start"] :].startswith(row["answer"])
    assert 0 < row["probability"] <= 1


def scored(count: int = 96) -> list[dict[str, Any]]:
    """A number for each text: how many good words are in it, times 100, above 500."""
    found = []
    for n in range(count):
        words = [(GOOD if n >> i & 1 else BAD)[(n // 8 + i * n) % 4] for i in range(3)]
        found.append({"text": " ".join(words), "score": 500 + 100 * sum(word in GOOD for word in words) + n % 3})
    return found


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_number_is_learned_in_its_own_size(kind: str, request: Any, tmp_path: Path) -> None:
    data = write(tmp_path / "data.jsonl", scored())
    model = request.getfixturevalue(kind)
    made = run(recipe(model, data, tmp_path / "out", kind="regress", epochs=16, held_out=(str(data),)))
    found = predict(Predict(model=made.path, data=(str(data),), out=tmp_path / "p.jsonl"))
    assert found["rmse"] < 50
    assert found["rmse"] == pytest.approx(held_out(made)["rmse"], rel=1e-3)
    assert found["spearman"] >= 0.8
    network = transformers.AutoModelForSequenceClassification.from_pretrained(made.path).eval()
    assert network.config.problem_type == "regression"
    words = transformers.AutoTokenizer.from_pretrained(made.path)
    row = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[5])
    with torch.no_grad():
        theirs = network(**words(row["text"], return_tensors="pt")).logits.item()
    assert row["score"] == pytest.approx(theirs, rel=1e-4)


def pairs() -> list[dict[str, Any]]:
    """A person's name belongs to the place of the same number, whatever stands around it."""
    return [
        {
            "query": f"where is {PEOPLE[n % 8]} {'very ' * (n // 24)}?",
            "positive": f"{PLACES[n % 8]} {'and rain ' * (n // 8 % 3)}",
        }
        for n in range(72)
    ]


@pytest.mark.parametrize(("kind", "pooling"), [("encoder", "mean"), ("decoder", "last")])
def test_vectors_of_what_belongs_together_come_close(kind: str, pooling: str, request: Any, tmp_path: Path) -> None:
    data, test = (write(tmp_path / f"{name}.jsonl", some) for name, some in (("a", pairs()), ("b", pairs()[:8])))
    few: dict[str, Any] = {"kind": "embed", "batch_examples": 16, "epochs": 14, "held_out": (str(test),)}
    made = run(recipe(request.getfixturevalue(kind), data, tmp_path / "out", **few))
    found = held_out(made)
    assert (found["records"], found["texts"]) == (8, 8)
    assert found["accuracy"] == 1.0
    modes = json.loads((made.path / "1_Pooling" / "config.json").read_text())
    assert modes[f"pooling_mode_{'mean_tokens' if pooling == 'mean' else 'lasttoken'}"] is True
    transformers.AutoModel.from_pretrained(made.path)
    predict(Predict(model=made.path, data=(str(test),), out=tmp_path / "p.jsonl"))
    row = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert np.linalg.norm(row["vector"]) == pytest.approx(1, abs=1e-5)
    assert "pair_vector" not in row


def test_vectors_with_a_degree(encoder: Path, tmp_path: Path) -> None:
    records = [
        {"text": f"{a} walks", "text_pair": f"{b} walks", "score": float((a in GOOD) == (b in GOOD))}
        for a in GOOD + BAD for b in GOOD + BAD
    ]  # fmt: skip
    data = write(tmp_path / "a.jsonl", records)
    made = run(recipe(encoder, data, tmp_path / "out", kind="embed", held_out=(str(data),), epochs=10))
    assert held_out(made)["spearman"] > 0.8


def test_any_number_of_labels(encoder: Path, tmp_path: Path) -> None:
    records = [{"text": f"{PEOPLE[n % 8]} in {PLACES[n % 5]}",
                "labels": ["first"] * (n % 8 < 4) + ["south"] * (n % 5 in (0, 2))} for n in range(80)]  # fmt: skip
    data = write(tmp_path / "a.jsonl", records)
    made = run(recipe(encoder, data, tmp_path / "out", held_out=(str(data),), epochs=12))
    assert held_out(made)["accuracy"] > 0.9
    network = transformers.AutoModelForSequenceClassification.from_pretrained(made.path)
    assert network.config.problem_type == "multi_label_classification"
    predict(Predict(model=made.path, data=(str(data),), out=tmp_path / "p.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert rows[1]["wanted"] == rows[1]["labels"] == ["first"]


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty", "gradnorm"])
def test_several_tasks_share_a_trunk(encoder: Path, tmp_path: Path, weighting: Any) -> None:
    files = (f"mood=classify:{write(tmp_path / 'a.jsonl', reviews())}", f"names=tag:{write(tmp_path / 'b.jsonl', sentences(48))}",
             f"size=regress:{write(tmp_path / 'c.jsonl', scored(48))}")  # fmt: skip
    few: dict[str, Any] = {"batch_examples": 24, "epochs": 8}
    made = run(recipe(encoder, files, tmp_path / "out", several=Several(weighting=weighting), **few))
    made.verify()
    assert held_out(made, "mood")["accuracy"] >= 0.8
    assert held_out(made, "names")["f1"] >= 0.8
    one, two = (load_file(tmp_path / "out" / name / "model.safetensors") for name in ("mood", "names"))
    shared = [name for name in one if name in two and not name.startswith("classifier")]
    assert len(shared) > 30
    assert all(torch.equal(one[name], two[name]) for name in shared)
    assert not any("balance" in name for name in one)
    rows = [json.loads(line) for line in (made.path / "metrics.jsonl").read_text().splitlines()]
    weights = [[row[f"weight/{name}"] for name in ("mood", "names", "size")] for row in rows if row["kind"] == "train"]
    if weighting == "fixed":
        assert weights[-1] == [1, 1, 1]
    else:
        assert weights[-1] != weights[0] == pytest.approx([1, 1, 0.5 if weighting == "uncertainty" else 1])
        assert set(made.metrics["weights"]) == {"mood", "names", "size"}
    if weighting == "gradnorm":
        assert sum(weights[-1]) == pytest.approx(3, abs=1e-4)
    with pytest.raises(UserError, match=r"holds several tasks\. Give one of them: mood, names, size"):
        predict(Predict(model=made.path, data=("x",)))


class Stop(Exception):
    pass


def stopped(monkeypatch: pytest.MonkeyPatch, at: int, loops: int = 1) -> None:
    """Make the loop of that number die after ``at`` steps, a checkpoint written."""
    step, seen = Loop._step, list[int]()

    def dying(self: Loop, drawn: Any) -> Any:
        if self.totals.step == 0:
            seen.append(0)
        if len(seen) == loops and self.totals.step == at:
            self.save()
            raise Stop
        return step(self, drawn)

    monkeypatch.setattr(Loop, "_step", dying)


CASES: dict[str, dict[str, Any]] = {
    "plain": {"data": "reviews"},
    "tag with holes": {"kind": "tag", "data": "sentences", "holes": Holes(weight=0.5, epochs_before=1.5)},
    "embed": {"kind": "embed", "data": "pairs", "embed": Embed(group=8)},
    "several": {"data": "two", "several": Several(weighting="gradnorm")},
    "consistency": {"data": "reviews", "semi": Semi(method="consistency", threshold=0.4)},
    "pseudo": {"data": "reviews", "semi": Semi(rounds=1, threshold=0.4)},
    "lora": {"data": "two", "several": Several(weighting="gradnorm"), "method": "lora", "lora": Lora(b_rate_ratio=4.0)},
    "freeze": {"kind": "tag", "data": "sentences", "method": "freeze", "holes": Holes(weight=0.5)},
}


@pytest.mark.parametrize(("name", "loops"), [("plain", 1), ("tag with holes", 1), ("tag with holes", 2), ("embed", 1),
                                             ("several", 1), ("consistency", 1), ("pseudo", 2), ("lora", 1),
                                             ("freeze", 1)])  # fmt: skip
def test_a_run_that_was_stopped_ends_in_the_same_bits(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, loops: int
) -> None:
    given = dict(CASES[name])
    made = {"reviews": reviews(48), "sentences": sentences(48), "pairs": pairs()[:48]}
    files = {key: str(write(tmp_path / f"{key}.jsonl", records)) for key, records in made.items()}
    kind = given.pop("data")
    data = (f"a=classify:{files['reviews']}", f"b=tag:{files['sentences']}") if kind == "two" else (files[kind],)
    if "semi" in given:
        given["unlabelled"] = (str(write(tmp_path / "more.jsonl", [{"text": r["text"]} for r in reviews(96)[60:]])),)
    given |= {"epochs": 2, "held_out_share": 0.1}

    def weights(out: Path) -> dict[str, torch.Tensor]:
        file = next(iter(sorted(out.rglob("model.safetensors"))))
        return load_file(file)

    run(recipe(encoder, data, tmp_path / "whole", **given))
    with monkeypatch.context() as patch:
        stopped(patch, 3, loops)
        with pytest.raises(Stop):
            run(recipe(encoder, data, tmp_path / "cut", **given))
    run(recipe(encoder, data, tmp_path / "cut", **given))
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    lines = [(tmp_path / side / "metrics.jsonl").read_text().splitlines() for side in ("whole", "cut")]
    assert len(lines[0]) == len(lines[1])


def test_what_cannot_be_learned_is_refused(encoder: Path, decoder: Path, tmp_path: Path) -> None:
    good = reviews(12)

    def refused(
        message: str, records: list[dict[str, Any]] | None = None, model: Path = encoder, **changes: Any
    ) -> None:
        data = write(tmp_path / "data.jsonl", good if records is None else records)
        with pytest.raises(UserError, match=message):
            run(recipe(model, changes.pop("data", data), tmp_path / "out", **changes))
        assert not (tmp_path / "out").exists()

    refused("line 13: no label", [*good, {"text": "tea"}])
    refused("line 1: no text under 'text'", [{"txt": "tea", "label": "a"}])
    refused("all records have the same label 'pos'", good[::2])
    odd = write(tmp_path / "odd.jsonl", [*good[:2], {"text": "tea", "label": "mixed"}])
    refused("odd.jsonl, line 3: label 'mixed' was not learned. Learned: neg, pos", held_out=(str(odd),))
    refused("2 tags for 1 words", [{"tokens": ["a"], "tags": ["O", "O"]}], kind="tag")
    refused(
        "is not what stands at character 2",
        [{**questions(1)[0], "answers": {"text": ["tea"], "answer_start": [2]}}],
        kind="qa",
    )
    refused("score 'much' is no number", [{"text": "tea", "score": "much"}], kind="regress")
    refused(
        "some records have a negative and some have none",
        [*pairs()[:3], {**pairs()[0], "negative": "tea"}],
        kind="embed",
    )
    refused("are no cosines", [{"text": "a", "text_pair": "b", "score": 4}] * 2, kind="embed")
    refused("3 pairs are fewer than the 16", pairs()[:3], kind="embed", held_out_share=0.0)
    refused(
        "cannot find hidden words from both sides", sentences(8), model=decoder, kind="tag", holes=Holes(weight=1.0)
    )
    refused("length 65 is longer than the 64", length=65)
    refused("no text is left", unlabelled=(str(write(tmp_path / "same.jsonl", good)),))
    refused("no such file", data=("nowhere.jsonl",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "recipe: data"),
        ({"data": ("a=classify:x", "b=tagging:y")}, "'tagging' is no kind of task. Did you mean 'tag'"),
        ({"data": ("a=classify:x", "y")}, "need NAME=KIND:FILE"),
        ({"data": ("a=classify:x", "a=tag:y")}, "task 'a' has two kinds"),
        ({"data": ("a=classify:x", "b=embed:y")}, "cannot be one of several"),
        ({"data": ("a=classify:x",), "kind": "tag"}, "each file names its kind"),
        ({"embed": Embed(temperature=0.1)}, "only embed has such keys"),
        ({"qa": Answers(longest=3)}, "only qa has such keys"),
        ({"kind": "regress", "smoothing": 0.1}, "only classify and tag"),
        ({"stride": 7}, "only tag and qa have windows"),
        ({"kind": "tag", "stride": 128}, "below half of length"),
        ({"holes": Holes(weight=1.0)}, "kind tag alone"),
        ({"several": Several(alpha=1.0)}, "there is one task"),
        ({"kind": "tag", "unlabelled": ("x",)}, "classify alone"),
        ({"semi": Semi(threshold=0.5)}, "no texts without labels"),
        ({"held_out": ("b=tag:y",)}, "no task 'b' of kind tag"),
        ({"held_out": ("y",), "held_out_share": 0.3}, "held_out says it"),
        ({"data": ("a=classify:x", "b=tag:y"), "several": Several(weights=("c=2",))}, "no task is called 'c'"),
        ({"kind": "embed", "embed": Embed(group=5)}, "whole groups of 5"),
        ({"kind": "embed", "micro_batches": 2}, "not 2 or more whole groups of 32"),
        ({"smoothing": 1.0}, "below 1"),
        ({"data": ("a=classify:x", "b=tag:y"), "several": Several(weighting="gradnorm"), "compile": True}, "looks inside"),
        ({"epochs": -1.0}, "epochs not negative"),
        ({"lora": Lora(rank=4)}, "only --method lora or qlora has such keys"),
        ({"method": "lora", "freeze": Freeze(last_layers=1)}, "only --method freeze has such keys"),
    ],
)  # fmt: skip
def test_keys_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainTask(**{"model": Path("model"), "data": ("x",)} | changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Several(weights=("a=x",)), "not NAME=NUMBER"),
        (lambda: Several(weights=("a=2",), weighting="gradnorm"), "only fixed weights"),
        (lambda: Several(gradnorm_rate=0.1), "only gradnorm"),
        (lambda: Several(alpha=-1.0), "not be negative"),
        (lambda: Holes(weight=-1.0), "not be negative"),
        (lambda: Semi(threshold=1.0), "below 1"),
        (lambda: Semi(rounds=0), "at least 1"),
        (lambda: Semi(ratio=2.0), "pseudo has none"),
        (lambda: Semi(method="consistency", rounds=3), "consistency has none"),
        (lambda: Embed(group=1), "at least 2 pairs"),
        (lambda: Answers(longest=0), "at least 1"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_the_command_line_says_it_too(encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "m", "--data", "a=tag:x.conll", "b=classify:y.csv", "--several.weighting", "uncertainty"]
    found: TrainTask = read(TrainTask, "task train", words)
    assert tasks_of(found.data, found.kind, "data") == {"a": ("tag", ["x.conll"]), "b": ("classify", ["y.csv"])}
    assert found.settings(1).optimizer.lr == 3e-4
    assert (found.settings(1, 499).optimizer.lr, found.settings(1, 500).optimizer.lr) == (1e-4, 3e-4)
    assert [found.length_of(rows) for rows in (20, 1066, 1067, 3200)] == [100, 100, 101, 300]
    assert (found.length_of(20, 2.0), dataclasses.replace(found, epochs=4.0).length_of(3200)) == (2, 400)
    assert read(TrainTask, "task train", [*words, "--optimizer.name", "muon"]).settings(1).optimizer.lr == 1e-3
    data = write(tmp_path / "a.jsonl", reviews(16))
    few = ["--epochs", "1", "--length", "32", "--precision", "fp32", "--out", str(tmp_path / "out")]
    assert main(["task", "train", "--model", str(encoder), "--data", str(data), *few]) == 0
    out = str(tmp_path / "p.jsonl")
    assert main(["task", "predict", "--model", str(tmp_path / "out"), "--data", str(data), "--out", out]) == 0
    assert "16 records" in capsys.readouterr().err
    assert main(["task", "predict", "--model", str(encoder), "--data", str(data), "--out", out]) == 2
    assert "is no directory of a task" in capsys.readouterr().err
    assert main(["task"]) == 2
