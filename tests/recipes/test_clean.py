"""The clean stage: every document accounted for, the same twice, and nothing left behind by bad input."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.base.recipe import from_dict
from danlu.recipes.clean import Clean, run
from danlu.text.write import read_documents


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two hundred good documents, a copy, a scrap, and a bad line."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = [json.dumps({"text": f"Document number {n} about salt.\r\n"}) for n in range(200)]
    lines[100:100] = [json.dumps({"text": "DOCUMENT number 7  about salt."}), json.dumps({"text": "x"}), "{bad"]
    (folder / "a.jsonl").write_text("\n".join(lines))
    (folder / "b.txt").write_text("A plain text about the sea.")
    return folder


def clean(data: Path, **settings: Any) -> artifact.Artifact:
    values: dict[str, Any] = {"inputs": (str(data),), "out": data.parent / "out", "validation_share": 0.1} | settings
    return run(Clean(**values))


def test_every_document_is_accounted_for(data: Path) -> None:
    made = clean(data)
    made.verify()
    train, validation = (list(read_documents(made.path / side)) for side in ("train", "validation"))
    assert made.metrics["documents"] == {"train": len(train), "validation": len(validation)}
    assert made.metrics["bytes"]["train"] == sum(d.bytes for d in train)
    assert len(train) + len(validation) == 201
    assert not {d.text for d in train} & {d.text for d in validation}
    assert 5 < len(validation) < 40
    assert all("\r" not in d.text for d in train)

    funnel = json.loads((made.path / "funnel.json").read_text())
    assert funnel == made.metrics["funnel"]
    assert [step["dropped"] for step in funnel["steps"]] == [{}, {"too_short": 1}, {"duplicate": 1}]
    assert funnel["samples"]["duplicate"] == ["DOCUMENT number 7  about salt."]
    assert funnel["sources"][0]["documents"] == 203
    assert funnel["problem_count"] == 1
    assert "a.jsonl, line 103: malformed JSON" in funnel["problems"][0]
    assert list(made.manifest["inputs"]) == [str(data)]


def test_the_same_twice(data: Path) -> None:
    first, second = clean(data, out=data.parent / "one"), clean(data, out=data.parent / "two")
    same = [{k: v for k, v in a.manifest["outputs"].items() if k.endswith(".parquet")} for a in (first, second)]
    assert same[0] == same[1]
    assert len(same[0]) == 2


def test_switches(data: Path) -> None:
    made = clean(data, deduplicate=False, min_characters=1, validation_share=0.0)
    assert made.metrics["documents"] == {"train": 203, "validation": 0}


def test_one_document_is_held_out_however_small_the_share(data: Path) -> None:
    assert clean(data, validation_share=1e-9).metrics["documents"] == {"train": 200, "validation": 1}


def test_it_is_up_to_date_afterwards(data: Path) -> None:
    recipe = Clean((str(data),), out=data.parent / "out")
    run(recipe)
    inputs = {str(data): data}
    assert artifact.changes(recipe.out, "clean", recipe, inputs) is None
    (data / "b.txt").write_text("Another text.")
    assert artifact.changes(recipe.out, "clean", recipe, inputs) == f"input changed: {data}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.txt", b"good\n\xff", r"c\.txt, line 2: invalid UTF-8 at byte 5"),
        ("c.jsonl", b"{bad\n" * 3, r"c\.jsonl, line 1: malformed JSON.*not one record"),
        ("c.jsonl", b'{"body": "x"}\n', r"c\.jsonl, line 1: no key 'text'"),
        ("c.parquet", b"PAR1", r"c\.parquet: not a Parquet file"),
    ],
)
def test_bad_input_leaves_nothing(data: Path, name: str, content: bytes, message: str) -> None:
    (data / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        clean(data)
    assert not (data.parent / "out").exists()


def test_input_that_is_not_there_leaves_the_old_result(data: Path) -> None:
    before = clean(data).digest
    with pytest.raises(UserError, match="missing: no such file"):
        clean(data, inputs=(str(data), str(data / "missing")))
    assert artifact.load(data.parent / "out").digest == before


def test_nothing_left(data: Path) -> None:
    with pytest.raises(UserError, match=r"no document is left \(dropped: too_short 203\)\. .*lower min_characters"):
        clean(data, min_characters=1000)
    assert not (data.parent / "out").exists()


def test_inputs_and_output_apart(data: Path) -> None:
    for out in (data, data / "out", data.parent):
        with pytest.raises(UserError, match="overlaps the input"):
            clean(data, out=out)
    assert (data / "b.txt").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inputs", []),
        ("validation_share", 1.0),
        ("validation_share", -0.1),
        ("min_characters", 0),
        ("max_characters", 5),
        ("bad_share", 2),
        ("text_column", ""),
        ("extractor", "magic"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"recipe: {key}: "):
        from_dict(Clean, {"inputs": ["a.txt"]} | {key: value})


def test_a_killed_run_starts_over(data: Path) -> None:
    """SIGKILL in the middle of writing; the same recipe then gives what an undisturbed run gives."""
    out = data.parent / "out"
    code = f"""
        import os, signal
        from danlu.recipes import clean
        from danlu.text import write
        flush = write.Shards._flush
        def fatal(self):
            flush(self)
            if self.documents > 50:
                self._close_shard()
                os.kill(os.getpid(), signal.SIGKILL)
        write.Shards._flush = fatal
        write.Shards.__init__.__kwdefaults__["row_group_bytes"] = 1
        clean.run(clean.Clean(({str(data)!r},), out=clean.Path({str(out)!r}), validation_share=0.1))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert list(out.rglob("*.parquet"))
    assert artifact.find(out) is None
    resumed = clean(data, out=out)
    undisturbed = clean(data, out=data.parent / "other")
    assert {k: v for k, v in resumed.manifest["outputs"].items() if k.endswith(".parquet")} == {
        k: v for k, v in undisturbed.manifest["outputs"].items() if k.endswith(".parquet")
    }
