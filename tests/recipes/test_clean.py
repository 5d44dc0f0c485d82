"""The clean stage: every document accounted for, the same whoever works, and bad input named but never the end."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.base.recipe import from_dict
from danlu.recipes import refine
from danlu.recipes.clean import Clean, run, steps
from danlu.recipes.explain import explain
from danlu.recipes.presets import PRESETS
from danlu.text.filters.length import Length
from danlu.text.filters.quality import Quality
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


def texts(folder: Path) -> list[str]:
    return [document.text for document in read_documents(folder)] if any(folder.glob("*.parquet")) else []


def shards(made: artifact.Artifact) -> dict[str, str]:
    return {name: digest for name, digest in made.manifest["outputs"].items() if name.endswith(".parquet")}


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
    assert [step["step"] for step in funnel["steps"]] == ["extract", "normalize", "length", "exact"]
    assert [step["dropped"] for step in funnel["steps"]] == [{}, {}, {"too_short": 1}, {"duplicate": 1}]
    assert funnel["samples"]["duplicate"] == ["DOCUMENT number 7  about salt."]
    assert funnel["sources"][0]["documents"] == 203
    assert funnel["problem_count"] == 1
    assert "a.jsonl, line 103: " in funnel["problems"][0]
    assert list(made.manifest["inputs"]) == [str(data)]
    assert "Document number" in (made.path / "report.html").read_text(encoding="utf-8")
    assert json.loads((made.path / "composition.json").read_text())["kept"]["documents"] == 201


def test_the_same_twice(data: Path) -> None:
    first, second = clean(data, out=data.parent / "one"), clean(data, out=data.parent / "two")
    assert shards(first) == shards(second)
    assert len(shards(first)) == 2


def test_steps_are_the_recipes(data: Path) -> None:
    none = clean(data, steps=(), validation_share=0.0)
    assert none.metrics["documents"] == {"train": 203, "validation": 0}
    some = clean(data, without=("exact",), length=Length(1), validation_share=0.0, out=data.parent / "some")
    assert some.metrics["documents"]["train"] == 203
    assert "\r" not in "".join(texts(some.path / "train"))


def test_one_document_is_held_out_however_small_the_share(data: Path) -> None:
    assert clean(data, validation_share=1e-9).metrics["documents"] == {"train": 200, "validation": 1}


def test_another_seed_holds_out_others(data: Path) -> None:
    first, second = clean(data, out=data.parent / "one"), clean(data, out=data.parent / "two", seed=1)
    assert texts(first.path / "validation") != texts(second.path / "validation")


def test_rejects_and_no_report(data: Path) -> None:
    made = clean(data, rejects=True, report=False)
    assert texts(made.path / "rejects" / "too_short") == ["x"]
    assert not (made.path / "report.html").exists()
    assert not (made.path / "composition.json").exists()


def test_it_is_up_to_date_afterwards(data: Path) -> None:
    recipe = Clean((str(data),), out=data.parent / "out")
    run(recipe)
    inputs = {str(data): data}
    assert artifact.changes(recipe.out, "clean", recipe, inputs) is None
    more = dataclasses.replace(recipe, workers=2, engine="ray", document_seconds=1.0)
    assert artifact.changes(recipe.out, "clean", more, inputs) is None
    (data / "b.txt").write_text("Another text.")
    assert artifact.changes(recipe.out, "clean", recipe, inputs) == f"input changed: {data}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.jsonl", b"{bad\n" * 3, r"c.jsonl, line 1"),
        ("c.jsonl", b'{"body": "x"}\n', r"text"),
        ("c.parquet", b"PAR1", r"c.parquet"),
        ("c.txt.gz", b"\x1f\x8b\x08\x00", r"c.txt.gz"),
    ],
)
def test_bad_input_is_named_and_costs_itself(data: Path, name: str, content: bytes, message: str) -> None:
    (data / name).write_bytes(content)
    made = clean(data)
    assert sum(made.metrics["documents"].values()) == 201
    assert any(message in problem and name in problem for problem in made.metrics["funnel"]["problems"])


def test_input_that_is_not_there_leaves_the_old_result(data: Path) -> None:
    before = clean(data).digest
    with pytest.raises(UserError, match="missing: no such file"):
        clean(data, inputs=(str(data), str(data / "missing")))
    assert artifact.load(data.parent / "out").digest == before


def test_nothing_left(data: Path) -> None:
    with pytest.raises(UserError, match=r"no document is left \(dropped: too_short 203; .*line 103.*steps: extract"):
        clean(data, length=Length(1000))
    assert not (data.parent / "out").exists()
    with pytest.raises(UserError, match="recipe: inputs: needs at least one"):
        clean(data, inputs=())


def test_inputs_and_output_apart(data: Path) -> None:
    for out in (data, data / "out", data.parent):
        with pytest.raises(UserError, match="overlaps the input"):
            clean(data, out=out)
    assert (data / "b.txt").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"validation_share": 1.0}, "recipe: validation_share: "),
        ({"workers": -1}, "recipe: workers: "),
        ({"task_megabytes": 0}, "recipe: task_megabytes: "),
        ({"document_seconds": 0}, "recipe: document_seconds: "),
        ({"steps": ["extrakt"]}, "there is no step 'extrakt'. Did you mean 'extract'"),
        ({"without": ["reading"]}, "recipe: without: there is no step 'reading'"),
        ({"steps": ["exact", "exact"]}, "names a step twice"),
        ({"length": {"minimum": 0}}, "minimum: must be at least 1"),
        ({"fineweb": {"short_line": 10}}, "fineweb has settings of its own, but is not among the steps"),
        ({"engine": "spark"}, "engine"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        from_dict(Clean, {"inputs": ["a.txt"]} | values)


def test_a_step_without_its_model_says_what_to_give(data: Path) -> None:
    for name in ("quality", "toxicity", "perplexity"):
        with pytest.raises(UserError, match=f"recipe: {name}: needs a model. Give --{name}.model"):
            clean(data, steps=(name,))
    with pytest.raises(UserError, match="nowhere"):
        clean(data, steps=("quality",), quality=Quality(data / "nowhere"))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_and_keep_what_is_good(name: str, tmp_path: Path) -> None:
    recipe = PRESETS[name]()
    assert list(steps(recipe)) == recipe.chosen
    assert from_dict(Clean, json.loads(json.dumps(artifact.recipes.to_dict(recipe)))) == recipe


def words(data: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "danlu", "clean", str(data), "--out", str(out), "--task-megabytes", "0.002", *more]


def test_workers_change_nothing(data: Path) -> None:
    alone = clean(data, task_megabytes=0.002, out=data.parent / "alone")
    assert len(shards(alone)) > 4
    assert shards(clean(data, task_megabytes=0.002, workers=2, out=data.parent / "two")) == shards(alone)


def test_ray_changes_nothing(data: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    alone = clean(data, task_megabytes=0.002, out=data.parent / "alone")
    command = words(data, data.parent / "ray", "--validation-share", "0.1", "--engine", "ray", "--workers", "2")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # Ray leaves threads behind
    assert done.returncode == 0, done.stderr
    assert shards(artifact.load(data.parent / "ray")) == shards(alone)


def killed(command: list[str], when: Callable[[], bool]) -> bool:
    """SIGKILL to the command and its workers as soon as ``when`` says so."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not when():
        time.sleep(0.01)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def test_a_killed_run_goes_on(data: Path) -> None:
    """Killed once in each segment; what was finished is not done again, and the result is the undisturbed one."""
    undisturbed, out = clean(data, task_megabytes=0.002, out=data.parent / "other"), data.parent / "out"
    command = words(data, out, "--validation-share", "0.1", "--workers", "1")
    for segment in ("00", "01"):
        folder = out / ".work" / segment
        assert killed(command, lambda folder=folder: len(list(folder.glob("*.json"))) >= 2)  # type: ignore[misc]
        before = {file: file.stat().st_mtime_ns for file in folder.glob("0*.json")}
        assert before
        assert artifact.find(out) is None
    finished = dict(before)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert shards(artifact.load(out)) == shards(undisturbed)
    assert not (out / ".work").exists()
    assert finished


def test_an_unfinished_run_keeps_its_tasks(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a run after its first task (a full disk, say) costs the tasks after it, and no more."""
    real, calls = refine.jobs.run_task, list[int]()

    def failing(job: Any, number: int, task: int) -> None:
        if (number, task) == (0, 2) and calls.count(2) == 0:
            calls.append(2)
            raise OSError(28, "No space left on device", str(job.out))
        real(job, number, task)

    monkeypatch.setattr(refine.jobs, "run_task", failing)
    with pytest.raises(OSError, match="No space left"):
        clean(data, task_megabytes=0.002)
    kept = sorted((data.parent / "out" / ".work" / "00").glob("*.json"))
    assert len(kept) == 2
    times = [file.stat().st_mtime_ns for file in kept]
    monkeypatch.setattr(artifact.Draft, "finish", lambda self: artifact.Artifact(self.path, {}))  # .work stays
    clean(data, task_megabytes=0.002)
    assert [file.stat().st_mtime_ns for file in kept] == times


def test_explain_shows_each_step(data: Path) -> None:
    (data / "c.jsonl").write_text(
        json.dumps({"text": "First line\u200b of the text here.", "url": "https://a.org"}) + '\n{"text": "x"}\n'
    )
    said = "\n".join(explain(Clean(), data / "c.jsonl"))
    assert "c.jsonl:1: 29 characters, url https://a.org" in said
    assert "29 → 28 characters" in said
    assert "exact                  judges a document by all the others" in said
    assert "DROPPED: too_short" in said
    assert not (data.parent / "runs").exists()
    many = "\n".join(explain(Clean(), data / "a.jsonl"))
    assert "holds more documents; these were the first 3" in many
