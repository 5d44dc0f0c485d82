"""The methods of fine-tuning on SmolLM2-135M-Instruct: what each trains, costs and reaches; and a form that is learned.

    make bench NAME=methods         (ARGS="--parts table --methods lora full" measures only those)

Every method takes the same conversations (Alpaca's English rows out of LLaMA-Factory's demonstration, a tenth of them
held out by a hash) for the same steps, at the learning rate that `danlu sft` gives it by itself; each number is the
mean of three seeds, which draw order and initial weights. The loss is measured once, on the written weights. Another
part fine-tunes as `danlu sft` does by itself, and asks what was held out: how many answers stop by themselves. The
last one fine-tunes with LoRA on GSM8K and asks questions that were not learned: how many answers stop by themselves,
and how many end as asked for, in a line of "#### number".

Each run is a process of its own, as a user starts it. Two hours of one core, in parts kept under runs/bench/methods.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from common import ROOT, Record, options, write
from labels import interval
from sft_speed import model_home

HOME = ROOT / "runs" / "bench" / "methods"
SHARED = ROOT.parent / "shared" / "data" / "gsm8k_train.jsonl.gz"
METHODS = {
    "full": (),
    "freeze": (),
    "lora": (),
    "lora, DoRA": ("--lora.dora",),
    "qlora": (),
    "qlora, chosen codes": (),
    "adapter": (),
    "prefix": (),
    "prompt": (),
    "ptuning": (),
    "ia3": (),
}
CHOSEN = "qlora, chosen codes"  # by danlu compress
# A method, another, what of the first is compared, and how it is used
WITHIN = (
    ("lora", "full", "test_loss", ""),
    ("qlora", "lora", "test_loss", ""),
    ("qlora", "lora", "whole_loss", ", merged into the whole model"),
    (CHOSEN, "lora", "test_loss", ""),
    (CHOSEN, "lora", "whole_loss", ", merged into the whole model"),
)
LONGEST = 512
STEPS, TOKENS, LENGTH = 24, 1024, 512
QUESTIONS, ANSWER = 48, 256  # asked, and the most tokens of an answer
FORM = re.compile(r"#### -?[\d,.]+\s*$")


def conversations(quick: bool) -> tuple[Path, Path]:
    """Files to learn from and to be measured by."""
    from real_documents import FACTORY, members

    rows = next(json.loads(data) for name, data in members(FACTORY) if name.endswith("data/alpaca_en_demo.json"))
    sides: dict[bool, list[Any]] = {True: [], False: []}
    for row in rows[:60] if quick else rows:
        asked = f"{row['instruction']}\n{row.get('input', '')}"
        sides[hashlib.sha256(asked.encode()).digest()[0] < 26].append(row)
    HOME.mkdir(parents=True, exist_ok=True)
    files = HOME / f"learn{'-quick' * quick}.jsonl", HOME / f"test{'-quick' * quick}.jsonl"
    for file, side in zip(files, (False, True), strict=True):
        file.write_text("".join(json.dumps(row) + "\n" for row in sides[side]), encoding="utf-8")
    return files


def near(path: Path) -> str:
    """Its name from the repository's root, where runs are started."""
    return str(path.relative_to(ROOT))


def danlu(*words: str) -> None:
    """A command, as a user starts it."""
    command = [sys.executable, "-m", "danlu", *words]
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=paths, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stderr}\ndanlu {' '.join(words)} failed")


def nothing(place: Path) -> dict[str, Any]:
    """No more is asked of a run than its manifest."""
    return {}


def trained(
    model: Path, chats: Path, seed: int, words: Iterable[str], after: Callable[[Path], dict[str, Any]] = nothing
) -> dict[str, Any]:
    """What the manifest of a run of ``danlu sft`` says, and what ``after`` finds in its directory; done once."""
    told = ["sft", "--model", near(model), "--chats", near(chats), "--seed", str(seed), *words, "--evaluations", "1"]
    told += ["--length", str(LENGTH), "--prompts", "Hello"]
    place = HOME / "runs" / hashlib.sha256("\n".join(told).encode() + chats.read_bytes()).hexdigest()[:16]
    kept = place.with_suffix(".json")
    if not kept.is_file():
        shutil.rmtree(place, ignore_errors=True)
        danlu(*told, "--out", str(place))
        metrics = json.loads((place / "manifest.json").read_text(encoding="utf-8"))["metrics"]
        kept.write_text(json.dumps(metrics | after(place)))
        shutil.rmtree(place)
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def untouched(model: Path, learn: Path, test: Path) -> float:
    """The held-out loss of a model as it is: after a step of no size."""
    words = ["--method", "ia3", "--optimizer.lr", "1e-30", "--steps", "1", "--batch-tokens", str(TOKENS)]
    loss: float = trained(model, learn, 0, [*words, "--test", near(test)])["test_loss"]
    return loss


def chosen(model: Path, learn: Path) -> Path:
    """The model with its four-bit codes chosen together, by the conversations that are learned."""
    out = HOME / f"{model.name}-chosen"
    if not (out / "manifest.json").is_file():
        danlu("compress", near(model), "--chats", near(learn), "--out", near(out), "--length", str(LENGTH))
    return out


def whole(place: Path, model: Path, learn: Path, test: Path) -> dict[str, float]:
    """The held-out loss with an adapter that was trained beside four bits, made one with the model itself."""
    merged = place.with_name(f"{place.name}-whole")
    danlu("merge", near(place), "--base", near(model), "--out", near(merged))
    loss = untouched(merged, learn, test)
    shutil.rmtree(merged)
    return {"whole_loss": loss}


def table(quick: bool, seeds: range, methods: list[str]) -> list[Record]:
    """Every method against the model as it was; LoRA against full, and QLoRA against LoRA."""
    model, (learn, test) = model_home(quick), conversations(quick)
    length = ["--steps", "2" if quick else str(STEPS), "--batch-tokens", str(TOKENS), "--test", near(test)]
    still = untouched(model, learn, test)
    log, records = dict[str, list[dict[str, Any]]](), list[Record]()
    for name in methods:
        words = ["--method", name.partition(",")[0], *METHODS[name], *length]
        base = chosen(model, learn) if name == CHOSEN else model
        after = partial(whole, model=model, learn=learn, test=test) if name.startswith("qlora") else nothing
        log[name] = [trained(base, learn, seed, words, after) for seed in seeds]
        losses = [run["test_loss"] for run in log[name]]
        first = log[name][0]
        details = {
            "each seed": losses,
            "95 % interval": interval(losses),
            "trained parameters": first.get("trained_parameters"),
            "learning rate": first["learning_rate"],
            "peak GB": max(run["peak_memory_bytes"] for run in log[name]) / 1e9,
            "tokens a second": statistics.median(run["tokens_per_second"] for run in log[name]),
        }
        what = f"{name}: held-out loss of answers after {first['steps']} steps of {TOKENS:,} tokens"
        records.append(Record(what, "the model as it was", statistics.fmean(losses), still, "nats", "less", 1.0,
                              len(losses), details))  # fmt: skip
        print(f"  {name:<12} {records[-1].ours:.4f} of {still:.4f}, {details}", flush=True)
    for ours, theirs, loss, how in WITHIN:
        if ours in log and theirs in log:
            found, wanted = [run[loss] for run in log[ours]], [run["test_loss"] for run in log[theirs]]
            what = f"{ours}{how}: held-out loss of answers, within 1 % of {theirs}"
            means = statistics.fmean(found), statistics.fmean(wanted)
            records.append(Record(what, theirs, *means, "nats", "less", 0.99, len(seeds), {"each seed": found}))
            print(f"  {means[0]:.4f} of {means[1]:.4f}: {what}", flush=True)
    return records


def asked(model: Path, questions: list[str], most: int) -> tuple[float, float]:
    """The shares of answers that stop by themselves, and that end in the form."""
    from danlu.generate.engine import Engine
    from danlu.generate.sample import Sampling
    from danlu.model.hub import load_model
    from danlu.tokens.chat import render
    from danlu.tokens.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(model)
    prompts = [render(tokenizer, [{"role": "user", "content": q}], add_generation_prompt=True).ids for q in questions]
    engine = Engine(load_model(model), tokenizer.stop_ids, rows=16)
    found = engine.generate(prompts, Sampling(max_new_tokens=most, temperature=0.0))
    texts = [tokenizer.decode(one.ids[: len(one.ids) - one.stopped]) for one in found]
    formed = [one.stopped and bool(FORM.search(text)) for one, text in zip(found, texts, strict=True)]
    return statistics.fmean(one.stopped for one in found), statistics.fmean(formed)


def stop_rate(model: Path, test: Path, count: int, most: int) -> float:
    """The share of answers to held-out instructions that stop by themselves, drawn as `danlu eval` draws them."""
    out = HOME / f"asked-{os.getpid()}"
    how = ["--answers", str(count), "--max-new-tokens", str(most), "--small-talk", "Hello"]
    danlu("eval", near(model), "--chats", near(test), "--out", near(out), *how)
    found: float = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["stop_rate"]
    shutil.rmtree(out)
    return found


def answers(quick: bool, seeds: range, methods: list[str]) -> list[Record]:
    """Instruction tuning with what `danlu sft --method lora` does unless it is told otherwise."""
    model, (learn, test) = model_home(quick), conversations(quick)
    count, most = (4, 8) if quick else (10**6, LONGEST)
    words = ["--method", "lora", "--test", near(test), *(["--steps", "2"] if quick else [])]
    before, kept = untouched(model, learn, test), HOME / f"asked{'-quick' * quick}.json"
    if not kept.is_file():
        kept.write_text(json.dumps(stop_rate(model, test, count, most)))
    runs = []
    for seed in seeds:
        runs.append(trained(model, learn, seed, words, lambda place: {"stops": stop_rate(place, test, count, most)}))
        print(
            f"  seed {seed}: loss {runs[-1]['test_loss']:.4f} of {before:.4f}, {runs[-1]['stops']:.4f} stop", flush=True
        )
    losses = [run["test_loss"] for run in runs]
    what = f"instruction tuning, LoRA as by default, {runs[0]['conversations']} conversations"
    details = {"each seed": losses, "95 % interval": interval(losses)}
    records = [Record(f"{what}: held-out loss of answers", "the model as it was", statistics.fmean(losses), before,
                      "nats", "less", 1.0, len(runs), details)]  # fmt: skip
    each = [run["stops"] for run in runs]
    said = f"{what}: answers of at most {most} tokens that stop by themselves"
    records.append(Record(said, "the aim: 98 %", statistics.fmean(each), 0.98, "share", "more", 1.0, len(runs),
                          {"each seed": each, "before": json.loads(kept.read_text())}))  # fmt: skip
    return records


def form(quick: bool, seeds: range, methods: list[str]) -> list[Record]:
    """GSM8K's answers end in a line of their own."""
    if not SHARED.is_file():
        print("  GSM8K's training problems are not there, and this part is left out")
        return []
    model = model_home(quick)
    rows = [json.loads(line) for line in gzip.decompress(SHARED.read_bytes()).decode("utf-8").splitlines()]
    count = 4 if quick else QUESTIONS
    held, rest = rows[:count], rows[count:]
    file = HOME / "gsm8k.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"prompt": r["question"], "completion": r["answer"]}) + "\n" for r in rest))
    questions, most = [row["question"] for row in held], 8 if quick else ANSWER
    before = asked(model, questions, most)
    stopped, formed = list[float](), list[float]()
    for seed in seeds:
        words = ["--method", "lora", "--steps", "2" if quick else "40", "--batch-tokens", str(TOKENS)]
        words += ["--held-out-share", "0.002"]
        shares = trained(model, file, seed, words, lambda place: {"shares": asked(place, questions, most)})["shares"]
        stopped.append(shares[0])
        formed.append(shares[1])
        print(f"  seed {seed}: {shares[0]:.1%} stop, {shares[1]:.1%} end in the form", flush=True)
    what = f"answers to {count} problems of GSM8K that were not learned,"
    means, many = (statistics.fmean(stopped), statistics.fmean(formed)), len(stopped)
    each = [{"each seed": values, "before": old} for values, old in zip((stopped, formed), before, strict=True)]
    return [
        Record(f"{what} that stop by themselves", "the aim: 98 %", means[0], 0.98, "share", "more", 1.0, many, each[0]),
        Record(f"{what} that end in '#### number'", "before", means[1], max(before[1], 1e-3), "share", "more", 1.0,
               many, each[1]),
    ]  # fmt: skip


PARTS = {"table": table, "answers": answers, "form": form}


def main() -> None:
    """Train, measure, write."""
    given = options(
        __doc__,
        ("--parts", {"nargs": "+", "default": list(PARTS), "choices": list(PARTS), "help": "only these"}),
        ("--methods", {"nargs": "+", "default": list(METHODS), "choices": list(METHODS), "help": "only these"}),
        ("--seeds", {"type": int, "default": 3, "help": "runs of each"}),
    )
    seeds = range(2 if given.quick else given.seeds)
    records = [row for part in given.parts for row in PARTS[part](given.quick, seeds, given.methods)]
    write("methods", records, quick=given.quick)


if __name__ == "__main__":
    main()
