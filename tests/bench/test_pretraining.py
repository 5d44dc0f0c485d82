"""The comparisons of pretraining: what both sides are given, what counts as reached, and what is done only once."""

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.bench.conftest import Scripts

TINY = {"vocab_size": 20, "layers": 1, "width": 16, "heads": 1, "kv_heads": 1, "head_width": 16, "feedforward": 32}


def test_every_held_out_token_but_the_first_is_a_target_once(script: Scripts, tmp_path: Path) -> None:
    files = script("budget").write_stream(tmp_path, range(50), list(range(100, 133)), 8)
    rows = np.load(files["held_out"])
    assert rows.shape == (4, 9)
    assert rows[:, 1:].flatten().tolist() == list(range(101, 133))
    assert (rows[1:, 0] == rows[:-1, -1]).all()
    assert np.load(files["stream"]).tolist() == list(range(50))


def test_a_change_reaches_into_its_group_and_not_beyond(script: Scripts) -> None:
    base = {"optimizer": {"name": "muon", "lr": 1.0}, "rows": 4}
    found = script("budget").changed(base, {"optimizer": {"lr": 2.0}, "bos": None})
    assert found == {"optimizer": {"name": "muon", "lr": 2.0}, "rows": 4, "bos": None}
    assert base["optimizer"]["lr"] == 1.0


def test_reached_is_the_first_time(script: Scripts) -> None:
    budget = script("budget")
    found = {"measured": [[1, 10.0, 5.0], [2, 20.0, 3.0], [3, 30.0, 2.0]]}
    assert budget.reached(found, 3.0) == 20.0
    assert budget.reached(found, 1.0) == math.inf
    assert budget.last(found) == 2.0


def test_a_part_is_done_once_and_again_when_its_data_change(script: Scripts, tmp_path: Path) -> None:
    budget = script("budget")
    rule = [i % 20 for i in range(2000)]  # the next id follows from the one before, so it can be learned to nothing
    files = budget.write_stream(tmp_path, rule, rule[:129], 16)
    more = {"rows": 4, "length": 16, "steps": 30, "evaluations": 2, "seed": 1}
    told = budget.work(files, {**TINY, "max_length": 16}, optimizer={"name": "muon", "lr": 2e-2}, **more)
    first = budget.part(tmp_path, "danlu_budget.py", Path(sys.executable), told)
    assert first["steps"] == 30
    assert len(first["losses"]) == 30
    assert [step for step, _, _ in first["measured"]] == [15, 30]
    assert first["measured"][-1][2] / 128 < 0.6 * math.log(20)
    kept = next((tmp_path / "parts").iterdir())
    wrong = json.loads(kept.read_text(encoding="utf-8"))
    wrong["found"]["steps"] = -1  # what comes back is what was kept, so nothing was trained again
    kept.write_text(json.dumps(wrong), encoding="utf-8")
    assert budget.part(tmp_path, "danlu_budget.py", Path(sys.executable), told)["steps"] == -1
    np.save(files["held_out"], np.load(files["held_out"])[:2])
    budget.answer = lambda command: {"steps": 7}
    assert budget.part(tmp_path, "danlu_budget.py", Path(sys.executable), told)["steps"] == 7


def test_windows_follow_from_seed_and_number_and_hide_other_documents(script: Scripts) -> None:
    side = script("danlu_budget")
    ids = np.asarray([1, 5, 6, 1, 7, 8, 9, 1, 5, 5] * 10)
    one, other = (side.Windows(ids, 3, 8, seed=4, bos=1) for _ in range(2))
    batches = [next(one) for _ in range(3)]
    other.load_state_dict({"position": 2})
    assert torch.equal(next(other).ids, batches[2].ids)
    assert not torch.equal(next(side.Windows(ids, 3, 8, seed=5, bos=1)).ids, batches[0].ids)
    for batch in batches:
        begins = (batch.ids == 1) | (torch.arange(8) == 0)
        assert torch.equal(batch.mask == 0, begins)
        assert torch.equal(batch.segments.diff(dim=1) == 1, begins[:, 1:])
    free = next(side.Windows(ids, 3, 8, seed=4, bos=None))
    assert free.mask[:, 1:].all()
    assert (free.segments == 1).all()


def test_the_peer_of_char_is_nanogpts_shape(script: Scripts) -> None:
    """0.80M parameters is what nanoGPT prints for this shape; the learning rate is that of its configuration."""
    side = script("char_gpt")
    torch.manual_seed(0)
    model = side.Gpt(65, 4, 128, 4, 64)
    # nanoGPT's own count leaves the positions out: 12 x layers x width² + norms + embedding
    count = sum(p.numel() for p in model.parameters()) - 64 * 128
    assert count == 4 * 12 * 128**2 + 9 * 128 + 65 * 128
    ids = torch.randint(0, 65, (2, 16))
    logits = model(ids)
    assert torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()) < math.log(65) + 0.2
    later = ids.clone()
    later[:, 10:] = (later[:, 10:] + 1) % 65
    assert torch.allclose(model(later)[:, :10], logits[:, :10], atol=1e-5)
    assert not torch.allclose(model(later)[:, 10:], logits[:, 10:], atol=1e-3)
    assert side.rate(100, 2000) == pytest.approx(1e-3)
    assert side.rate(2000, 2000) == pytest.approx(1e-4)
    assert side.rate(0, 2000) < 2e-5


def test_both_measure_the_same_nats(script: Scripts) -> None:
    ours, theirs = script("danlu_budget"), script("char_gpt")
    rows = np.random.default_rng(0).integers(0, 20, (40, 9))
    uniform = 40 * 8 * math.log(20)
    model = theirs.Gpt(20, 1, 16, 1, 8)
    danlu = ours.Transformer(ours.ModelConfig(**TINY, max_length=8))
    for parameter in (model.embed.weight, danlu.embed.weight):
        torch.nn.init.zeros_(parameter)  # tied: every logit is 0, every id as likely as another
    assert theirs.nats(model, rows) == pytest.approx(uniform, rel=1e-5)
    assert ours.nats(danlu, rows) == pytest.approx(uniform, rel=1e-5)


def test_the_time_is_that_of_the_shortest_run_that_got_there(script: Scripts, tmp_path: Path) -> None:
    bench = script("time_to_loss")

    def shortest(nats_after: dict[float, float], at: dict[float, float] | None = None) -> tuple[float, list[float]]:
        """Seconds of a run → its nats at its end, or ``at`` another time."""
        tried: list[float] = []

        class Task(bench.Task):  # type: ignore[name-defined,misc]
            def danlu(self, change: dict[str, Any], **more: Any) -> dict[str, Any]:
                tried.append(round(more["seconds"], 1))
                when = (at or {}).get(tried[-1], more["seconds"])
                return {"measured": [[1, when, nats_after[tried[-1]]]], "seconds": more["seconds"]}

        task = Task(tmp_path, {}, {}, 1, 0, "fp32")
        return bench.shortest(task, 1e-3, 120.0, 2.0, 0)[0], tried

    assert shortest({40.0: 1.0, 30.0: 1.5, 20.0: 2.5}) == (30.0, [40.0, 30.0, 20.0])
    assert shortest({40.0: 1.0, 30.0: 1.5}, {40.0: 25.0, 30.0: 29.0}) == (25.0, [40.0, 30.0])
    assert shortest({40.0: 2.5, 60.0: 2.1, 90.0: 1.9}) == (90.0, [40.0, 60.0, 90.0])
    assert shortest({40.0: 3.0, 60.0: 3.0, 90.0: 3.0, 120.0: 3.0})[0] == math.inf


def test_every_row_of_the_ablations_changes_its_run(script: Scripts, tmp_path: Path) -> None:
    import itertools

    bench, told = script("time_to_loss"), list[str]()
    bench.part = lambda home, side, python, work: told.append(json.dumps(work, sort_keys=True)) or {}
    shape = {**TINY, "layers": 4, "width": 256, "heads": 4, "kv_heads": 4, "head_width": 64, "max_length": 512}
    task = bench.Task(tmp_path, {}, {**shape, "tied": False}, 1, 0, "fp32")
    for change in bench.ABLATION.values():
        task.danlu(change, seconds=1.0)
    assert all(a != b for a, b in itertools.combinations(told, 2))
    char = script("char")
    works = [json.dumps(char.ours({}, 65, change), sort_keys=True) for change in char.ABLATION.values()]
    assert all(a != b for a, b in itertools.combinations(works, 2))


def test_only_what_ran_is_compared(script: Scripts) -> None:
    bench = script("pretrain_speed")
    names = ("Danlu", "Trainer", "litgpt", "litgpt, not compiled", "Danlu, compiled")
    seconds = {name: [1.0 + i, 1.0 + i] for i, name in enumerate(names)}
    log = {name: {"parameters": 10, "losses": [3.0, 2.0]} for name in names}
    found = bench.records(seconds, log, {"bf16": 1e12}, bench.QUICK, 2)
    assert [row.peer for row in found[:-2]] == [
        "Trainer, SDPA (its default)",
        "Trainer, SDPA (its default)",
        "litgpt, compiled (its default)",
        "litgpt, compiled (its default)",
        "litgpt without torch.compile",
    ]
    assert [row.ratio for row in found[:-2]] == pytest.approx([2.0, 0.4, 0.6, 3.0, 4.0])
    assert [row.target for row in found[:-2]] == [1.5, 1.5, 1.3, None, 1.3]
    assert ["compiled" in row.what for row in found[:-2]] == [False, True, True, False, False]
    assert [row.what.partition("share of the measured bf16 peak")[2] for row in found[-2:]] == ["", ", compiled"]
    assert [row.ratio for row in found[-2:]] == pytest.approx([row.ours / 0.7 for row in found[-2:]])
    assert found[-2].details["Danlu, compiled's"] == found[-1].ours
    assert {name for part in bench.PARTS.values() for name in part} >= set(names)
    assert bench.check(log) == set()
    with pytest.raises(SystemExit, match="litgpt differs"):
        bench.check({**log, "litgpt": {"parameters": 11, "losses": [3.0, 2.0]}})
    assert bench.check({**log, "Trainer": {"parameters": 10, "losses": [3.0, 2.2]}}) == {"Trainer"}


def test_litgpt_is_given_one_id_more(script: Scripts) -> None:
    bench = script("pretrain_speed")
    ids = bench.batches(2, 50, 16)
    assert ids.shape == (2, bench.ROWS, 17)
    assert ids.max() < 50


def test_half_of_trainers_memory_is_the_aim(script: Scripts) -> None:
    bench = script("memory")
    side = {"parameters": 5, "seconds": [1.0], "losses": [2.0]}
    peaks = {"Danlu": 1e9, "Danlu, checkpointing": 0.5e9, "Trainer": 3e9, "Trainer, checkpointing": 1.5e9}
    found = bench.records({name: {**side, "peak": peak} for name, peak in peaks.items()}, 0.2e9, bench.QUICK)
    assert [row.ratio for row in found] == [3.0, 3.0, 1.5]
    assert [row.target for row in found] == [2.0, 2.0, None]
    with pytest.raises(SystemExit, match="Trainer did not train what Danlu trained"):
        bench.check({"Danlu": side, "Trainer": {**side, "losses": [2.5]}})


def test_a_peer_gets_the_version_that_it_names(script: Scripts, tmp_path: Path) -> None:
    common = script("common")
    constraints, requirements = tmp_path / "constraints.txt", tmp_path / "requirements.txt"
    constraints.write_text("# a comment\nHuggingface_hub==2\nnumpy==2\ntorch==3\n", encoding="utf-8")
    requirements.write_text("# huggingface_hub below 2\nhuggingface_hub==1\ntorch==3\n", encoding="utf-8")
    assert common.unnamed(constraints, requirements) == ["# a comment", "numpy==2"]


def test_curves_take_the_mean_of_the_sources(script: Scripts) -> None:
    bench = script("curves")
    rows = [
        {"kind": "eval", "step": 2, "bits_per_byte": 3.0},
        {"kind": "eval", "step": 2, "bits_per_byte": 2.0},
        {"kind": "train", "step": 1, "loss": 5.0},
        {"kind": "eval", "step": 1, "bits_per_byte": 4.0},
    ]
    assert bench.total(rows) == [(1.0, 4.0), (2.0, 2.5)]
    curves = {seed: ([(float(i), 5.0 - seed) for i in range(20)], [(20.0, 2.0 + seed)]) for seed in range(2)}
    found = bench.record(curves, "3M", "2M")
    assert (found.ours, found.theirs) == (3.0, 2.0)
    assert found.details["loss of the last tenth of each seed"] == [5.0, 4.0]
    assert dataclasses.asdict(found)["target"] is None
