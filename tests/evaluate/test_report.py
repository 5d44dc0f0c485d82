"""The report: complete for a whole run, quiet about what is missing, harmless whatever the run's texts say."""

import dataclasses
import json
import math
import random
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from danlu.base import artifact
from danlu.base.errors import MissingExtra, UserError
from danlu.evaluate import plots
from danlu.evaluate.report import gather, headlines, size, tables, write_report

EVIL = '<script>alert("1")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "img", "br", "hr", "input", "link"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Stands for any stage's recipe."""

    steps: int = 100
    note: str = "炼丹"


class Page(HTMLParser):
    """Collects a page's tags and attributes, and checks that every element that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def curves(steps: int, every: int, preference: bool = False) -> list[dict[str, Any]]:
    """Rows as the loop writes them, with noise from a fixed seed."""
    chance, rows = random.Random(0), []
    for step in range(1, steps + 1):
        part = step / steps
        row = {
            "kind": "train",
            "step": step,
            "tokens": 4096 * step,
            "loss": 2.2 + 6.0 * math.exp(-9 * part) + chance.gauss(0, 0.12),
            "lr": 3e-3 * min(1, step / (0.05 * steps)) * (0.55 + 0.45 * math.cos(math.pi * part)),
            "grad_norm": 1 + chance.random(),
            "tokens_per_second": 8100 + chance.gauss(0, 250),
            "seconds": 0.5 * step,
        }
        if preference:
            row |= {"loss": 0.69 - 0.3 * part + chance.gauss(0, 0.03), "kl": 0.1 * part}
            row |= {"accuracy": min(1.0, 0.5 + 0.4 * part + chance.gauss(0, 0.1)), "margin": 2.5 * part}
            row |= {"chosen_logprob": -20 - 4 * part, "rejected_logprob": -21 - 9 * part}
        rows.append(row)
        if step % every == 0:
            value = 1.7 + 1.9 * math.exp(-6 * part)
            rows.append({"kind": "eval", "step": step, "bits_per_byte": value, "loss": value * 1.4})
    return rows


FUNNEL = {
    "sources": [
        {"source": "python 文档", "licence": "PSF-2.0", "documents": 7936, "bytes": 1_700_000},
        {"source": "三国演义", "licence": "public domain", "documents": 120, "bytes": 1_790_000},
    ],
    "steps": [
        {"step": "read", "documents_in": 8056, "bytes_in": 3_490_000, "documents_out": 8040, "bytes_out": 3_480_000,
         "dropped": {"empty": 16}},
        {"step": "exact_duplicates", "documents_in": 8040, "bytes_in": 3_480_000, "documents_out": 6120,
         "bytes_out": 3_010_000, "dropped": {"duplicate": 1920}},
        {"step": "length", "documents_in": 6120, "bytes_in": 3_010_000, "documents_out": 5200, "bytes_out": 2_900_000,
         "dropped": {"too_short": 918, "too_long": 2}},
    ],
    "problems": ["chats.jsonl line 12: not JSON", EVIL],
    "problem_count": 1234,
    "samples": {"too_short": ["See also.", EVIL], "too_long": []},
}  # fmt: skip
EVALUATION = {
    "stop_rate": 0.97,
    "stop_rate_interval": [0.93, 0.99],
    "same_language_rate": 0.9,
    "small_talk_language": 1.0,
    "questions": 200,
    "answers": [
        {"prompt": "你好", "answer": "你好!有什么可以帮你?", "stopped": True},
        {"prompt": "What is a list?", "answer": EVIL, "stopped": False},
    ],
    "preference": {"pairs": 204, "accuracy": 0.71, "low": 0.64, "high": 0.77, "margin": 1.3, "chosen_logprob": -31.0},
    "text": {
        "bits_per_byte": 1.71,
        "documents": 104,
        "bytes": 70_000,
        "sources": {"python": 1.52, "三国演义": 2.31},
        "xz_bits_per_byte": 1.93,
    },
}


def make_run(run: Path, steps: int = 100) -> Path:
    """A chain as the recipes leave it: clean → tokenizer → pretrain → sft → dpo → eval."""

    def stage(
        name: str, files: dict[str, Any], metrics: dict[str, Any], *inputs: artifact.Artifact
    ) -> artifact.Artifact:
        described = {item.stage: item for item in inputs}
        draft = artifact.begin(run / name, name, Recipe(), {**described, **({} if inputs else {"text": source})})
        for file, value in files.items():
            if file.endswith(".jsonl"):
                lines(draft.path / file, value)
            else:
                (draft.path / file).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        draft.metrics |= metrics
        return draft.finish()

    run.mkdir(parents=True)
    source = run.parent / "raw.txt"
    source.write_text("天下大势,分久必合。", encoding="utf-8")
    prompts = ["The function returns", "话说天下大势"]
    samples = [
        {"step": step, "prompt": prompt, "text": f"{prompt} … 第 {step} 步 " + "the value of the list " * 4}
        for step in range(0, steps + 1, max(steps // 12, 1))
        for prompt in prompts
    ]
    samples.append({"step": steps + 1, "prompt": prompts[0], "text": EVIL})
    skip = {"kind": "skip", "step": 40, "reason": "gradient norm 812, 60 times its median", "batch": "40 of epoch 1"}
    clean = stage("clean", {"funnel.json": FUNNEL}, {"documents": 5200})
    tokenizer = stage("tokenizer", {}, {"bytes_per_token": 3.71}, clean)
    rows = [*curves(steps, max(steps // 8, 1)), skip]
    sizes = {"parameters": 10_400_000, "peak_memory_bytes": 2_310_000_000}
    pretrain = stage("pretrain", {"metrics.jsonl": rows, "samples.jsonl": samples}, sizes, clean, tokenizer)
    sft = stage("sft", {"metrics.jsonl": curves(steps, steps)}, {}, pretrain)
    dpo = stage("dpo", {"metrics.jsonl": curves(steps, steps, preference=True)}, {}, sft)
    stage("eval", {"evaluation.json": EVALUATION}, {}, dpo, clean)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_run(tmp_path_factory.mktemp("report") / "demo")
    write_report(made)
    return made


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_every_section_is_there(html: str) -> None:
    page = Page(html)
    assert page.open == []
    for words in (
        "The road", "The data", "Training: pretrain", "Training: sft", "Training: dpo", "Evaluation",
        "The complete recipe", "Lineage", "三国演义", "too short 918", "你好",
        "gradient norm 812, 60 times its median (batch 40 of epoch 1)",
        "Held-out text", "Bits per byte of each source", "70.0 kB", "note: 炼丹", "raw.txt", "its origin is above",
        "1,234 problems", "The first 2 are listed", "See also.",
    ):  # fmt: skip
        assert words in page.text, words


def test_headlines_say_it_in_plain_words(run: Path) -> None:
    found = {line.label: (line.value, line.note) for line in headlines(gather(run), EVALUATION)}
    assert found["bits per byte of unseen text"] == ("1.71", "11% fewer than xz -9e, 1.93")
    assert found["of unseen preference pairs in the right order"] == ("71%", "95% interval 64% to 77%, 204 pairs")
    assert found["of answers stop by themselves"] == ("97%", "95% interval 93% to 99%, 200 questions")
    assert found["of small talk is answered in its language"] == ("100%", "")
    assert found["parameters in the model"] == ("10.4M", "")
    assert found["memory at most"] == ("2.3 GB", "")


def test_the_stages_stand_in_the_order_they_were_made(run: Path) -> None:
    assert [stage.kind for stage in gather(run)] == ["clean", "tokenizer", "pretrain", "sft", "dpo", "eval"]


def test_text_from_the_run_cannot_become_markup(html: str) -> None:
    page = Page(html)
    assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)
    assert EVIL in page.text  # shown, as text
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_the_page_loads_nothing(html: str) -> None:
    loaded = [value for name, value in Page(html).attributes if name.split(":")[-1] in ("src", "href", "data")]
    assert all(value.startswith("#") for value in loaded)
    assert not re.search(r"url\((?!#)|@import", html)


def test_plots_are_drawn_as_png_and_follow_the_theme_in_the_page(run: Path, html: str) -> None:
    names = {path.name for path in (run / "plots").iterdir()}
    assert {"pretrain-loss.png", "pretrain-learning-rate.png", "pretrain-speed.png", "dpo-logprob.png"} <= names
    assert {"dpo-accuracy.png", "dpo-margin.png", "pretrain-bits-per-byte.png"} <= names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (run / "plots").iterdir())
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert "var(--first)" in svg
    assert "#0072b2" not in svg


def test_a_report_twice_is_the_same_page(run: Path, html: str) -> None:
    assert write_report(run).read_text(encoding="utf-8") == html


def test_the_artifacts_stay_valid(run: Path) -> None:
    for folder in ("pretrain", "dpo"):
        artifact.load(run / folder).verify()


def test_one_finished_stage_alone(run: Path, tmp_path: Path) -> None:
    draft = artifact.begin(tmp_path / "only", "pretrain", Recipe())
    lines(draft.path / "metrics.jsonl", curves(30, 10))
    draft.finish()
    page = Page(write_report(tmp_path / "only").read_text(encoding="utf-8"))
    assert "one stage" in page.text
    assert (tmp_path / "only" / "plots" / "only-loss.png").exists()
    artifact.load(tmp_path / "only").verify()


def test_an_unfinished_stage_with_a_line_cut_off(tmp_path: Path) -> None:
    draft = artifact.begin(tmp_path / "run", "sft", Recipe())
    lines(draft.path / "metrics.jsonl", curves(7, 5))
    with open(draft.path / "metrics.jsonl", "a", encoding="utf-8") as handle:
        handle.write('{"kind":"train","step":8,"lo')
    page = Page(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert "unfinished, at step 7" in page.text
    assert "Evaluation" not in page.text


def test_a_stage_killed_while_its_folder_was_emptied(tmp_path: Path) -> None:
    (tmp_path / "run" / "sft").mkdir(parents=True)
    (tmp_path / "run" / "sft" / artifact.STAGE).write_text("null\n")
    assert [(stage.kind, stage.finished) for stage in gather(tmp_path / "run")] == [("sft", False)]
    assert "unfinished" in write_report(tmp_path / "run").read_text(encoding="utf-8")


def test_a_stage_without_anything_to_draw_needs_no_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    artifact.begin(tmp_path / "run", "clean", Recipe()).finish()
    write_report(tmp_path / "run")
    assert not (tmp_path / "run" / "plots").exists()


def test_without_matplotlib_the_pip_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"the report needs matplotlib.*danlu\[report\]"):
        plots.draw(plots.training_plots(curves(3, 1)), tmp_path, "x")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "empty"])
def test_a_folder_that_is_no_run_is_named(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "x")
    with pytest.raises(UserError, match=r"/x: (no such file|holds no stage)"):
        write_report(tmp_path / "x")
    assert not list(tmp_path.rglob("report.html"))


def test_points_pass_over_what_cannot_be_drawn() -> None:
    rows: list[dict[str, Any]] = [
        {"kind": "train", "step": 1, "loss": 3.0},
        {"kind": "train", "step": 2, "loss": math.nan},
        {"kind": "train", "step": 3, "loss": "x"},
        {"kind": "train", "loss": 1.0},
        {"kind": "eval", "step": 1, "loss": 9.0},
        {"kind": "train", "step": 1, "loss": 2.0},  # the same step again, after a resume
    ]
    assert plots.points(rows, "train", "loss") == [(1.0, 2.0)]


def test_smoothing_keeps_a_level_level_and_does_not_flatten_the_start() -> None:
    level = [(float(x), 2.0) for x in range(500)]
    assert [value for _, value in plots.smooth(level)] == pytest.approx([2.0] * 500)
    fall = [(float(x), -2.0 * x) for x in range(500)]
    assert [value for _, value in plots.smooth(fall)][:480] == pytest.approx([value for _, value in fall][:480])


def test_thinning_keeps_the_ends() -> None:
    line = [(float(x), 2.0 * x) for x in range(5000)]
    thin = plots.thin(line)
    assert len(thin) == plots.MOST_POINTS
    assert (thin[0], thin[-1]) == (line[0], line[-1])
    assert plots.thin(line[:5]) == line[:5]


def test_tables_of_nested_numbers() -> None:
    estimate = {"value": 0.71, "interval": [0.64, 0.77], "pairs": 204}
    found = tables("", {"a_b": estimate, "c": {"d": 0.25, "e": {"f": [1, 2]}}, "g": [{"x": 1}, {"x": 2, "y": "z"}]})
    assert [(table.title, table.rows) for table in found] == [
        ("", [["a b", "0.71 (0.64 to 0.77, pairs 204)"]]),
        ("c", [["d", "0.25"]]),
        ("c: e", [["f", "1, 2"]]),
        ("g", [["1", ""], ["2", "z"]]),
    ]


def test_sizes_are_in_units_of_a_thousand() -> None:
    assert [size(n) for n in (999, 1000, 12_345_678, 2e9)] == ["999 bytes", "1.0 kB", "12.3 MB", "2.0 GB"]
