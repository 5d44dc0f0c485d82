"""Preference pairs: the shapes that are known, and what is refused by file, record and reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.text.pairs import read_preferences

USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def jsonl(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "hi", "chosen": "good", "rejected": "bad"},
        {"prompt": [USER], "chosen": "good", "rejected": [{"role": "assistant", "content": "bad"}]},
        {
            "chosen": [USER, {"role": "assistant", "content": "good"}],
            "rejected": [USER, {"role": "assistant", "content": "bad"}],
        },
        {"prompt": "hi", "chosen": [USER, {"role": "assistant", "content": "good"}], "rejected": "bad"},
        {  # as LLaMA-Factory has them
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
    ],
)
def test_preference_shapes(tmp_path: Path, record: dict[str, Any]) -> None:
    pairs = list(read_preferences(jsonl(tmp_path / "x.jsonl", record)))
    assert pairs == [{"prompt": [USER], "chosen": "good", "rejected": "bad"}]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"prompt": "hi", "chosen": "same", "rejected": " same\n"}, "chosen and rejected are equal"),
        ({"prompt": "hi", "chosen": "good"}, "no key 'rejected'"),
        ({"chosen": "good", "rejected": "bad"}, "the prompt does not end with a user turn"),
        ({"prompt": [USER, ANSWER], "chosen": "good", "rejected": "bad"}, "the prompt does not end with a user turn"),
        (
            {"prompt": [USER, USER], "chosen": "good", "rejected": "bad"},
            "prompt, turn 2: role 'user' cannot come after",
        ),
        ({"prompt": "hi", "chosen": [USER], "rejected": "bad"}, "'chosen' does not end with an assistant turn"),
        ({"prompt": "hi", "chosen": "", "rejected": "bad"}, "turn 1: empty assistant answer"),
        ({"prompt": "other", "chosen": [USER, ANSWER], "rejected": "bad"}, "answer different prompts"),
    ],
)
def test_a_bad_pair_names_file_line_and_reason(tmp_path: Path, record: dict[str, Any], problem: str) -> None:
    path = jsonl(tmp_path / "x.jsonl", {"prompt": "hi", "chosen": "good", "rejected": "bad"}, record)
    with pytest.raises(UserError, match=rf"x\.jsonl, line 2: .*{problem}") as caught:
        list(read_preferences(path))
    assert caught.value.remedy
