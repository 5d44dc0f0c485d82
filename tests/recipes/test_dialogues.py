"""The data side of `danlu sft`: three sides, templates, constructions, what is lost, and texts beside conversations."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.base.errors import UserError
from danlu.cli import read
from danlu.model.hub import load_model
from danlu.objectives.next_token import NextToken
from danlu.recipes import evaluation, preferences, sft
from danlu.recipes.chats import HELD_OUT, TEST, chats_from, conversations_from, first_question
from danlu.recipes.dialogues import Dialogues, dialogues
from danlu.recipes.evaluation import Evaluate
from danlu.recipes.preferences import SamplePreferences
from danlu.recipes.sft import Sft
from danlu.recipes.sides import normalized
from danlu.tokens.batches import sequential
from danlu.tokens.chat import render
from danlu.tokens.pack import ListItems
from danlu.tokens.templates import TEMPLATES
from danlu.tokens.tokenizer import Tokenizer
from tests.tokens.talk import CALLING, LONG, SINGLE, TOOLS


def jsonl(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def recipe(made: Path, chats: Path, out: Path, **changes: Any) -> Sft:
    values: dict[str, Any] = {"epochs": 0.2, "length": 64, "batch_tokens": 512, "precision": "fp32", "evaluations": 1}
    return Sft(model=made / "pretrain", chats=(str(chats),), out=out, prompts=("Hello",), **values | changes)


def built(made: Path, chats: Path, **changes: Any) -> Dialogues:
    return dialogues(recipe(made, chats, chats.parent / "out", **changes), Tokenizer.load(made / "pretrain"))


def asked(path: Path) -> set[str]:
    return {normalized(chat.question) for chat in conversations_from([str(path)], 0.0)}


def test_a_test_is_measured_once_on_what_is_written(
    made: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sft.run(recipe(made, world / "chats.jsonl", tmp_path / "sft", test_share=0.2))
    test, held_out = asked(found.path / TEST), asked(found.path / HELD_OUT)
    assert test
    assert not test & held_out
    assert {TEST, HELD_OUT} <= set(found.manifest["outputs"])
    numbers = found.metrics
    assert (numbers["test"], numbers["held_out"]) == (len(test), len(held_out))
    assert numbers["conversations"] == 120 - len(test) - len(held_out)
    assert "that nothing else saw" in capsys.readouterr().err
    lines = (found.path / "metrics.jsonl").read_text(encoding="utf-8")
    assert "test" not in lines
    model, tokenizer = load_model(found.path), Tokenizer.load(found.path)
    items = [render(tokenizer, chat) for chat in chats_from([str(found.path / TEST)], 0.0)]
    nats = weight = 0.0
    shape: dict[str, Any] = {"batch_size": 8, "length": 64, "pad_id": tokenizer.pad_id}
    with torch.no_grad():
        for batch in sequential(ListItems(items), **shape, split=False):
            nats += float(NextToken()(model, batch)[0])
            weight += NextToken().weight(batch)
    assert numbers["test_loss"] == pytest.approx(nats / weight, rel=1e-5)
    sampled = SamplePreferences(
        model=found.path, chats=(str(world / "chats.jsonl"),), out=tmp_path / "pairs", prompts=200, answers=2,
        max_new_tokens=2, temperature=3.0, least_difference=0.0, precision="fp32",
    )  # fmt: skip
    made_ = preferences.run(sampled)
    assert made_.metrics["train_prompts"] == 120 - len(test) - len(held_out)
    prompts = {pair["prompt"].casefold() for side in ("train", "heldout")
               for pair in map(json.loads, (made_.path / f"{side}.jsonl").read_text().splitlines())}  # fmt: skip
    assert prompts
    assert not prompts & test


def test_a_test_of_ones_own(made: Path, world: Path, tmp_path: Path) -> None:
    apart = jsonl(tmp_path / "test.jsonl", {"messages": SINGLE}, {"text": "Anna likes tea."})
    found = built(made, world / "chats.jsonl", test=(str(apart),))
    assert [chat.question for chat in found.test.chats] == ["Who?", "Anna likes tea."]
    assert len(found.test.items) == 2
    question = {"prompt": "who likes TEA,  Anna?", "completion": "No."}
    leaking = jsonl(tmp_path / "leaking.jsonl", {"messages": SINGLE}, question)
    with pytest.raises(
        UserError, match="recipe: test: 1 of 2 test conversations begin with a question of the training"
    ):
        built(made, world / "chats.jsonl", test=(str(leaking),))
    assert leaking in sft.sources(recipe(made, apart, tmp_path / "out", test=(str(leaking),))).values()


def test_near_duplicates_are_on_one_side(made: Path, world: Path, tmp_path: Path) -> None:
    long = (
        "tell me in detail and with all the names that you know who of the people in this town likes to drink tea " * 2
    )
    chats = []
    for number in range(40):
        for ending in ("", "!", " now please"):
            question = f"{number}{long}{number} {ending}"
            turns = [{"role": "user", "content": question.replace("me", f"me{number}")}, SINGLE[1]]
            chats.append({"messages": turns})
    found = built(
        made, jsonl(tmp_path / "x.jsonl", *chats), held_out_share=0.2, test_share=0.2, length=256, batch_tokens=512
    )
    sides = [
        {chat.question.split("tell")[0] for chat in side.chats} for side in (found.training, found.held_out, found.test)
    ]
    assert [len(side.chats) / 3 for side in (found.training, found.held_out, found.test)] == [len(s) for s in sides]
    assert all(len(side) > 2 for side in sides)
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_the_template_is_what_the_result_has(made: Path, world: Path, tmp_path: Path) -> None:
    found = sft.run(recipe(made, world / "chats.jsonl", tmp_path / "out", template="alpaca"))
    tokenizer = Tokenizer.load(found.path)
    assert tokenizer.chat_template == TEMPLATES["alpaca"].source
    assert tokenizer.end_of_turn_id == tokenizer.eos_id
    generation = json.loads((found.path / "generation_config.json").read_text(encoding="utf-8"))
    assert generation["eos_token_id"] == [tokenizer.eos_id]
    samples = [json.loads(line) for line in (found.path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert samples[0]["prompt"] == "### Instruction:\nHello\n\n### Response:\n"
    with pytest.raises(UserError, match=r"the template 'llama3' needs .*, and the model has rows for 0 more"):
        sft.run(recipe(made, world / "chats.jsonl", tmp_path / "other", template="llama3"))
    with pytest.raises(UserError, match="and with this method their rows do not learn"):
        sft.run(recipe(made, world / "chats.jsonl", tmp_path / "other", template="llama3", method="lora"))
    assert not (tmp_path / "other").exists()


def test_tools_reach_the_template(made: Path, tmp_path: Path) -> None:
    calling = {"messages": CALLING, "tools": TOOLS}
    path = jsonl(tmp_path / "x.jsonl", calling, {"messages": SINGLE}, {**calling, "messages": CALLING[:5]})
    with pytest.raises(UserError, match=r"x\.jsonl, line \d: the chat template has no place for tools"):
        built(made, path, length=512)
    tokenizer = Tokenizer.load(made / "pretrain").with_config(chat_template=TEMPLATES["qwen"].source)
    given = recipe(made, path, tmp_path / "out", template="qwen", length=2048, batch_tokens=4096, held_out_share=0.0)
    found = dialogues(given, tokenizer).training
    assert [item.ids for item in found.items] == [
        render(tokenizer, chat.turns, tools=chat.tools).ids for chat in found.chats
    ]
    assert found.answers == 4 + 1 + 2


def test_the_three_constructions(made: Path, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"messages": LONG}, {"messages": SINGLE}, {"messages": LONG[1:5]})
    found = {learn: built(made, path, learn=learn, held_out_share=0.0, length=512, batch_tokens=1024).metrics
             for learn in ("all", "each", "last")}  # fmt: skip
    assert [(found[learn]["conversations"], found[learn]["items"], found[learn]["answers"]) for learn in found] == [
        (3, 3, 6), (3, 6, 6), (3, 3, 3),
    ]  # fmt: skip
    assert found["all"]["learned_tokens"] == found["each"]["learned_tokens"] > found["last"]["learned_tokens"]
    twice = jsonl(tmp_path / "twice.jsonl", {"messages": [*SINGLE, *SINGLE]})
    ran = sft.run(recipe(made, twice, tmp_path / "out", learn="each", held_out_share=0.0, steps=1, epochs=0.0))
    assert (ran.metrics["conversations"], ran.metrics["items"]) == (1, 2)


def test_what_does_not_fit_is_said_and_counted(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(
        tmp_path / "x.jsonl", {"messages": LONG}, {"messages": SINGLE}, {"prompt": "x " * 99, "completion": "y"}
    )
    size = len(render(Tokenizer.load(made / "pretrain"), LONG[:5]))
    found = built(made, path, held_out_share=0.0, length=size, batch_tokens=1024).metrics
    assert (found["conversations"], found["dropped"], found["cut"], found["lost"], found["answers"]) == (2, 1, 1, 2, 5)
    said = capsys.readouterr().err
    assert f"1 of 3 conversations do not fit in {size} tokens and are left out" in said
    assert f"1 of 3 conversations are longer than {size} tokens and keep some answers only" in said
    assert "2 of 5 answers (40.0%) are not learned" in said
    with pytest.raises(UserError, match="no conversation is left to train on: 3 do not fit"):
        built(made, path, held_out_share=0.0, length=4)


def test_texts_are_learned_whole(made: Path, tmp_path: Path) -> None:
    texts = [{"text": f"Anna likes tea and number {number}. 茶"} for number in range(20)]
    path = jsonl(tmp_path / "x.jsonl", *texts)
    found = sft.run(recipe(made, path, tmp_path / "out", held_out_share=0.2, epochs=2.0))
    assert found.metrics["answers"] == found.metrics["lost"] == 0
    kept = [json.loads(line) for line in (found.path / HELD_OUT).read_text(encoding="utf-8").splitlines()]
    assert kept
    assert all(record in texts for record in kept)
    with pytest.raises(UserError, match=r"heldout\.jsonl, line 1: is a plain text, and questions are needed"):
        evaluation.run(Evaluate(model=found.path, chats=found.path, out=tmp_path / "evaluation", precision="fp32"))


def test_a_table_gives_what_the_same_records_give(made: Path, world: Path, tmp_path: Path) -> None:
    turns = chats_from([str(world / "chats.jsonl")], 0.0)
    lines = [f'"{chat[0]["content"]}";"{chat[1]["content"]}"' for chat in turns]
    (tmp_path / "x.csv").write_text("\n".join(["prompt;completion", *lines]), encoding="utf-8")
    ours, theirs = built(made, tmp_path / "x.csv"), built(made, world / "chats.jsonl")
    assert ours.training.items == theirs.training.items
    assert ours.held_out.items == theirs.held_out.items


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_share": 1.0}, "recipe: test_share: must be at least 0 and below 1"),
        ({"test_share": 0.5, "held_out_share": 0.5}, "leave nothing to train on"),
        ({"test_share": 0.5, "test": ("x",)}, "are two ways to the same test. Give one"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Sft(model=Path("model"), chats=("x",), **changes)


def test_the_command_line_says_it_too() -> None:
    words = ["--model", "m", "--chats", "x", "--template", "qwen", "--learn", "each", "--test", "a", "b"]
    found = read(Sft, "sft", words)
    assert (found.template, found.learn, found.test, found.test_share) == ("qwen", "each", ("a", "b"), 0.0)
    assert read(Sft, "sft", [*words[:4], "--test-share", "0.1"]).test_share == 0.1
    assert first_question([{"role": "user", "content": " A  B "}]) == "a b"
