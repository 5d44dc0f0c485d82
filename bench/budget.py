"""What char, time_to_loss and curves share: text as one stream of ids, work for a side, and parts that are kept.

A part is one training run of one side. What it found is kept under ``runs/bench/NAME`` by the hash of its work, its
data and its code, so a comparison that is stopped goes on where it was, and one that is changed does what is new.
"""

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import BENCH, ROOT, answer

HOME = ROOT / "runs" / "bench"
NATS_TO_BITS = 1 / math.log(2)


def write_stream(place: Path, ids: Sequence[int], held_out: Sequence[int], length: int) -> dict[str, str]:
    """Ids to train on as a flat file, held-out ids as rows [N, length + 1], each beginning with the last of another.

    So every held-out token but the first is a target exactly once, on every side with the same context. What does not
    fill a row is left out, on every side alike. Returns the files' names as `work` wants them.
    """
    place.mkdir(parents=True, exist_ok=True)
    rows = (len(held_out) - 1) // length
    held = np.asarray(held_out, np.int32)
    np.save(place / "stream.npy", np.asarray(ids, np.int32))
    np.save(place / "held_out.npy", np.stack([held[i * length : (i + 1) * length + 1] for i in range(rows)]))
    return {"stream": str(place / "stream.npy"), "held_out": str(place / "held_out.npy")}


def corpus(home: Path, megabytes: float, vocabulary: int) -> Path:
    """Real documents in English and Chinese as token shards, made by Danlu's own stages unless they are there.

    The documents are those of `real_documents`, in an order that their names decide; one in fifty is held out, of a
    few one in five.
    """
    from real_documents import documents

    from danlu.recipes import clean, tokenize, tokenizer

    out = home / f"tokens-{megabytes:g}-{vocabulary}"
    if (out / "manifest.json").is_file():
        return out
    home.mkdir(parents=True, exist_ok=True)
    raw, cleaned, learned = (home / f"{name}-{megabytes:g}-{vocabulary}" for name in ("raw", "clean", "tokenizer"))
    with (raw := raw.with_suffix(".jsonl")).open("w", encoding="utf-8", errors="replace") as file:
        left = megabytes * 1e6
        for real in sorted(documents(), key=lambda real: hashlib.sha256(real.id.encode()).digest()):
            if real.language in ("en", "zh") and left > 0:
                text = real.text.encode("utf-8", "replace").decode("utf-8")
                left -= len(text.encode())
                file.write(json.dumps({"text": text, "source": real.language}, ensure_ascii=False) + "\n")
    share = 0.02 if megabytes >= 5 else 0.2  # of a few documents one in fifty is none
    if not (cleaned / "manifest.json").is_file():
        clean.run(clean.Clean((str(raw),), out=cleaned, steps=("normalize", "exact"), validation_share=share))
    if not (learned / "manifest.json").is_file():
        tokenizer.run(tokenizer.TrainTokenizer((str(cleaned),), out=learned, vocab_size=vocabulary))
    return tokenize.run(tokenize.Tokenize(data=cleaned, tokenizer=learned, out=out)).path


def stream_of(tokens: Path, place: Path, length: int, most_held_out: int) -> tuple[dict[str, str], int, int, int, int]:
    """Shards as the flat files of `write_stream`, documents in an order of their own.

    Returns the files, how many ids there are, how many held-out targets, the UTF-8 bytes that those stand for, and the
    id that begins a document. The bytes are those of the documents measured; a cut document counts by its share.
    """
    from danlu.tokens.shards import Shards
    from danlu.tokens.tokenizer import Tokenizer

    train, rest = Shards.open(tokens / "train"), Shards.open(tokens / "validation")
    order = np.random.default_rng(0).permutation(len(train))
    ids = np.concatenate([train[int(i)] for i in order]).astype(np.int32)
    held = np.concatenate([rest[i] for i in range(len(rest))]).astype(np.int32)[:most_held_out]
    files, targets = write_stream(place, ids, held, length), (len(held) - 1) // length * length
    size = round(rest.bytes * targets / rest.tokens)
    return files, len(ids), targets, size, Tokenizer.load(tokens / "tokenizer").bos_id


def changed(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with a change, which reaches into its groups and not beyond them."""
    both = {key: {**base[key], **change[key]} for key in change if isinstance(base.get(key), dict)}
    return {**base, **change, **both}


def work(files: Mapping[str, str], model: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What a side is told. ``seconds`` 0 trains for ``steps``, else for as many steps as fit in them.

    ``ramp`` is the share of the steps, the first, in which ours reads half the rows.
    """
    import torch

    usual = {
        "steps": 0,
        "seconds": 0.0,
        "seed": 0,
        "evaluations": 20,
        "precision": "fp32",
        "bos": None,
        "lr": 0.0,
        "ramp": 0.0,
    }
    shared = {"threads": torch.get_num_threads(), "optimizer": {}, "schedule": {}}
    return {**usual, **shared, **files, "model": dict(model), **more}


def part(home: Path, side: str, python: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Run ``bench/sides/SIDE`` on it, unless that was done before."""
    data = {key: hashlib.sha256(Path(told[key]).read_bytes()).hexdigest() for key in ("stream", "held_out")}
    code = (BENCH / "sides" / side).read_bytes()
    if python == Path(sys.executable):
        files = (file for room in ("model", "objectives", "train") for file in (ROOT / "danlu" / room).rglob("*.py"))
        code += b"".join(file.read_bytes() for file in sorted(files))
    name = hashlib.sha256(json.dumps({**told, **data}, sort_keys=True).encode() + code).hexdigest()[:16]
    kept = home / "parts" / f"{name}.json"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        asked = home / f"work-{name}.json"
        asked.write_text(json.dumps(told), encoding="utf-8")
        found = answer([python, BENCH / "sides" / side, asked])
        asked.unlink()
        unfinished = kept.with_suffix(".new")
        unfinished.write_text(json.dumps({"told": told, "found": found}), encoding="utf-8")
        unfinished.replace(kept)
    found = json.loads(kept.read_text(encoding="utf-8"))["found"]
    return dict(found)


def reached(found: Mapping[str, Any], nats: float) -> float:
    """Seconds of training after which the held-out nats were first at most ``nats``; infinite if they never were."""
    return next((seconds for _, seconds, measured in found["measured"] if measured <= nats), math.inf)


def last(found: Mapping[str, Any]) -> float:
    """The held-out nats at the end."""
    return float(found["measured"][-1][2])


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


if __name__ == "__main__":
    sys.exit("This is what the comparisons share; name one of them.")
