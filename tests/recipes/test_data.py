"""`danlu data inspect` and `danlu data convert`: what is shown is what training would see, and nothing is left behind."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.cli import main, read
from danlu.recipes import data, inspection
from danlu.recipes.data import Convert, Inspect
from danlu.recipes.inspection import coloured, histogram, spread
from danlu.text.conversations import read_conversations
from danlu.tokens.chat import render
from danlu.tokens.samples import build
from danlu.tokens.tokenizer import Tokenizer
from tests.recipes.test_dialogues import jsonl
from tests.tokens.talk import CALLING, LONG, SINGLE, TOOLS

PAIR = {"prompt": "hi", "chosen": "good", "rejected": "bad"}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file with something of everything, three records of it bad."""
    path = jsonl(
        tmp_path / "mixed.jsonl", {"messages": LONG}, {"messages": [SINGLE[0]]},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        {"messages": CALLING, "tools": TOOLS}, {"text": "天下大势，分久必合。"}, {"messages": [SINGLE[0], SINGLE[0]]}, PAIR,
    )  # fmt: skip
    path.write_text(path.read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    return path


def test_formats_roles_and_refusals_without_a_model(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(mixed.parent.iterdir())
    assert main(["data", "inspect", str(mixed), "--samples", "2"]) == 0
    shown = capsys.readouterr().out
    assert f"{mixed}: 8 records (4 messages, 1 ShareGPT, 1 plain text, 1 preference pairs), 3 refused" in shown
    assert "refused: line 2: no assistant turn" in shown
    assert "refused: line 6: turn 2: role 'user' cannot come after 'user'" in shown
    assert "refused: line 8: malformed JSON" in shown
    assert "1 with tools" in shown
    assert "tokens" not in shown
    assert shown.count("sample: ") == 2
    assert "user: 12 + 30?" in shown
    assert sorted(mixed.parent.iterdir()) == before


def test_lengths_losses_and_what_is_learned(made: Path, mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = Tokenizer.load(made / "tokenizer")
    length = len(render(tokenizer, LONG[:5]))
    recipe = Inspect((str(mixed),), model=made / "sft", length=length, samples=1)
    (found,) = data.inspect(recipe)
    shown = capsys.readouterr().out
    assert "refused: line 4: the chat template has no place for tools" in shown
    assert max(found.tokens) == len(render(tokenizer, LONG))
    assert (found.dropped, found.cut, found.lost, found.answers) == (0, 1, 1, 6)
    assert f"1 of 5 are longer than {length} tokens and keep some answers" in shown
    assert "1 of 6 answers (16.7%) are not learned" in shown
    chats = list(read_conversations(jsonl(mixed.parent / "one.jsonl", {"messages": LONG})))
    assert found.items[0] == build(tokenizer, chats[0], length).items[0]
    learned = sum(sum(item.mask[1:]) for item in found.items) / sum(map(len, found.items))
    assert found.learned_share == learned
    assert f"{learned:.1%} of {sum(map(len, found.items)):,} tokens are learned" in shown
    assert "⟦分久必合。" in shown
    assert "<|im_end|>⟧\n<|im_start|>user\n(why)<|im_end|>" in shown
    assert "天下" in shown[: shown.index("⟦")]  # the question is no answer


def test_each_key_changes_what_is_seen(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(jsonl(tmp_path / "x.jsonl", {"messages": LONG}, {"messages": SINGLE}))

    def items(**changes: Any) -> list[tuple[list[int], list[int]]]:
        (found,) = data.inspect(Inspect((path,), model=made / "tokenizer", **changes))
        return [(item.ids, item.mask) for item in found.items]

    whole = items()
    assert [len(items(learn=learn)) for learn in ("all", "each", "last")] == [2, 4, 2]
    assert items(learn="last")[0] != whole[0]
    assert items(template="alpaca") != whole
    assert [len(items(length=length)) for length in (20, 40)] == [0, 1]
    capsys.readouterr()
    assert [items(samples=n) and capsys.readouterr().out.count("sample: ") for n in (0, 1, 9)] == [0, 1, 2]


def test_colours_on_a_terminal_and_brackets_elsewhere(made: Path) -> None:
    tokenizer = Tokenizer.load(made / "tokenizer")
    item = render(tokenizer, SINGLE)
    text = coloured(tokenizer, item, plain=False)
    assert [text.plain[span.start : span.end] for span in text.spans if span.style == inspection.LEARNED] == [
        "the fox<|im_end|>"
    ]
    assert {span.style for span in text.spans} == {inspection.LEARNED, inspection.CONTEXT}
    assert coloured(tokenizer, item, plain=True).plain == text.plain.replace("the fox<|im_end|>", "⟦the fox<|im_end|>⟧")


def test_pairs_are_measured_as_two_conversations(made: Path, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "x.jsonl", PAIR, {**PAIR, "rejected": "good"})
    (found,) = data.inspect(Inspect((str(path),), model=made / "tokenizer", samples=0))
    assert (found.records, len(found.items)) == (2, 2)
    assert found.refused == {"chosen and rejected are equal": ["line 2"]}
    assert found.shapes == {"preference pairs": 2}


@pytest.mark.skipif(find_spec("chatterbot_corpus") is None, reason="chatterbot-corpus is not installed")
def test_a_package(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = data.inspect(Inspect(("package:chatterbot",), samples=1))
    assert found.records == len(found.found) > 1000
    assert "sample: package:chatterbot, dialogue 1\n  user: " in capsys.readouterr().out


def test_folders_and_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    jsonl(folder / "a.jsonl", {"messages": SINGLE})
    (folder / "b.parquet").write_bytes(b"PAR1")
    (folder / "c.json").write_text("[1, {}]")
    assert main(["data", "inspect", str(folder), "--samples", "0"]) == 0
    shown = capsys.readouterr().out
    assert f"refused: {folder / 'b.parquet'}: not a Parquet file" in shown
    assert f"{folder / 'c.json'}: 2 records (1 unknown), 2 refused" in shown
    assert "refused: record 1: not a JSON object" in shown
    assert "refused: record 2: no known chat shape (keys: none): {}" in shown
    assert main(["data", "inspect", str(tmp_path / "none")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_many_bad_records_are_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "x.jsonl", *[{"messages": []}] * 40, *[{f"k{number}": 1} for number in range(20)])
    assert main(["data", "inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "refused: line 1, line 2, line 3 and 37 more: no turns" in shown
    assert "refused for 11 reasons more" in shown
    assert len(shown.splitlines()) == 12


def test_spread_and_histogram() -> None:
    assert spread([5, 1, 1000]) == "1 to 1,000, median 5, 95 % up to 1,000"
    assert [" ".join(line.split()) for line in histogram([4, 5, 7, 20])] == [
        f"4 to 7 {'█' * 30} 3", "8 to 15 0", f"16 to 31 {'█' * 10} 1",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["template", "length", "learn"])
def test_what_needs_a_model_is_refused_without(key: str) -> None:
    with pytest.raises(UserError, match=rf"recipe: {key}: says something of tokens\. Give --model too"):
        Inspect(("x",), **{key: {"template": "qwen", "length": 9, "learn": "each"}[key]})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["out.jsonl", "out.json"])
def test_convert(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = jsonl(tmp_path / "x.jsonl", {"messages": LONG}, {"messages": SINGLE})
    for shape, key in (("messages", "messages"), ("sharegpt", "conversations"), ("alpaca", "instruction")):
        out = tmp_path / shape / name
        assert main(["data", "convert", str(source), "--to", shape, "--out", str(out)]) == 0
        text = out.read_text(encoding="utf-8")
        rows = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
        assert [key in row for row in rows] == [True, True]
        assert list(read_conversations(out)) == list(read_conversations(source))
        assert main(["data", "convert", str(source), "--to", shape, "--out", str(out)]) == 2
        assert "is there already" in capsys.readouterr().err


def test_what_cannot_be_converted_leaves_nothing(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "x.jsonl", {"messages": SINGLE}, {"messages": CALLING, "tools": TOOLS})
    with pytest.raises(UserError, match="line 2: has tools, which 'alpaca' cannot hold"):
        data.convert(Convert(str(source), tmp_path / "out.jsonl", "alpaca"))
    with pytest.raises(UserError, match=r"out\.csv: is no file of records\. Supported: \.jsonl, \.json"):
        Convert(str(source), tmp_path / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jsonl"]
    assert read(Convert, "data convert", [str(source), "--out", "y.json"]).to == "messages"
