"""Training a byte-level BPE of 32,000 pieces on mostly Chinese text: time, memory, and how well it packs other text.

    make bench NAME=tokenizer_training
    make bench NAME=tokenizer_training ARGS="--gigabytes 1 10"

The peer is the trainer of `tokenizers` with its plain byte-level cutting, which ends words at spaces and marks alone.
Each training is a process of its own, whose peak memory is what the system says it was; both read the same lines. The
text is 全唐诗, 全宋诗, 宋词 and 元曲, the Chinese of `real_documents`, some English; every 40th document is held out.
``--gigabytes`` trains on more of the same under a ceiling of 2 GB: copies in each of which a tenth of the different
Chinese characters have changed places, so that the different words grow as the text does, if faster than in any real
corpus.
"""

import json
import random
import statistics
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import BENCH, Record, answer, options, write
from real_documents import PACKAGES, Package, documents, members

POETRY = Package("npm", "chinese-poetry", "2.0.1", "chinese-poetry-*.tgz")
COLLECTIONS = ("quantangshi/poet.", "songci/ci.song.", "yuanqu/yuanqu", "yudingquantangshi/json")
MEGABYTES, ENGLISH, HELD_OUT, PIECES, RUNS, SEED = 86, 6, 40, 32_000, 3, 0
MEMORY = 512_000_000  # the ceiling given to ours where the peer is beside it
CEILING = 2_000_000_000
CHANGED = 0.1  # of the different Chinese characters of a copy


def main() -> None:
    """Train both, compare; then ours on more."""
    more = {"nargs": "*", "type": float, "default": [1.0], "help": "sizes to train on under 2 GB (default 1)"}
    given = options(__doc__, ("--gigabytes", more))
    texts = corpus(2 if given.quick else MEGABYTES)
    learned, held_out = [t for n, t in enumerate(texts) if n % HELD_OUT], texts[::HELD_OUT]
    pieces = 2000 if given.quick else PIECES
    with TemporaryDirectory(prefix="danlu-bpe-") as folder:
        place = Path(folder)
        lines(place / "texts.jsonl", iter(learned))
        records = versus(place, held_out, pieces, given.quick)
        write("tokenizer_training", records, quick=given.quick)
        for size in [0.01] if given.quick else given.gigabytes:
            records.append(large(place, held_out, pieces, size))
            write("tokenizer_training", records, quick=given.quick)  # the next size may be an hour away


def corpus(megabytes: float) -> list[str]:
    """So much text, English a small part of it, in random order; kept in one file."""
    kept = PACKAGES.parent / "mostly_chinese.jsonl"
    if not kept.exists():
        texts, found, size = list(poems()), documents(), 0
        texts += [real.text for real in found if real.language == "zh"]
        for real in random.Random(SEED).sample(found, len(found)):
            if real.language == "en" and size < ENGLISH * 1e6:
                texts.append(real.text)
                size += len(real.text.encode("utf-8", "replace"))
        random.Random(SEED).shuffle(texts)
        lines(kept, (text.encode("utf-8", "replace").decode() for text in texts))
    chosen, size = list[str](), 0
    with kept.open(encoding="utf-8") as held:
        for line in held:
            chosen.append(json.loads(line))
            size += len(chosen[-1].encode())
            if size > megabytes * 1e6:
                break
    return chosen


def poems() -> Iterator[str]:
    """Each with its title and its poet."""
    for name, data in members(POETRY):
        if name.endswith(".json") and any(collection in name for collection in COLLECTIONS):
            for poem in json.loads(data):
                verses = poem.get("paragraphs") or []
                yield "\n".join([poem.get("title") or poem.get("rhythmic") or "", poem.get("author") or "", *verses])


def lines(path: Path, texts: Iterator[str]) -> None:
    """One text a line, as JSON."""
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(text, ensure_ascii=False) + "\n" for text in texts)


def train(side: str, path: Path, pieces: int, memory: int | None = None) -> dict[str, Any]:
    """Seconds, peak megabytes and facts of a training in a process of its own; its tokenizer lies beside the text."""
    work = {"texts": str(path), "pieces": pieces, "memory": memory, "out": str(path.parent / side)}
    found: dict[str, Any] = answer([sys.executable, BENCH / "sides" / f"{side}_bpe.py", json.dumps(work)])
    print(f"  {side}: {found['seconds']:.1f} s, {found['megabytes']:.0f} MB", flush=True)
    return found


def bytes_per_token(folder: Path, texts: list[str]) -> float:
    """Of UTF-8, over all texts."""
    import tokenizers

    core = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens = sum(len(e.ids) for e in core.encode_batch_fast(texts, add_special_tokens=False))
    return sum(len(text.encode()) for text in texts) / tokens


def versus(place: Path, held_out: list[str], pieces: int, quick: bool) -> list[Record]:
    """Both on the same text."""
    path = place / "texts.jsonl"
    its = train("tokenizers", path, pieces)
    each = [train("danlu", path, pieces, MEMORY) for _ in range(1 if quick else RUNS)]
    seconds = statistics.median(found["seconds"] for found in each)
    megabytes = max(found["megabytes"] for found in each)
    packed = [bytes_per_token(place / side, held_out) for side in ("danlu", "tokenizers")]
    what, peer = f"BPE of {pieces:,} pieces on {path.stat().st_size / 1e6:.0f} MB, mostly Chinese", "tokenizers"
    details = {"ceiling given": f"{MEMORY / 1e6:.0f} MB", **each[0]["facts"]}
    return [
        Record(f"{what}: time", peer, seconds, its["seconds"], "s", "less", 5.0, len(each), details),
        Record(f"{what}: peak memory", peer, megabytes, its["megabytes"], "MB", "less", 10.0, len(each)),
        Record(f"{what}: held-out text", peer, packed[0], packed[1], "bytes/token", "more", 0.99, 1),
    ]


def large(place: Path, held_out: list[str], pieces: int, gigabytes: float) -> Record:
    """Ours on so much text, under the ceiling."""
    path = place / "large.jsonl"
    copies((place / "texts.jsonl").read_text(encoding="utf-8"), path, gigabytes * 1e9)
    size = path.stat().st_size
    found = train("danlu", path, pieces, CEILING)
    details = {
        "seconds": found["seconds"],
        "MB of text a second": size / 1e6 / found["seconds"],
        "held-out bytes a token": bytes_per_token(place / "danlu", held_out),
        **found["facts"],
    }
    path.unlink()
    what = f"peak memory of training {pieces:,} pieces on {gigabytes:g} GB, changed copies of the same text"
    return Record(what, "aim", found["megabytes"], CEILING / 1e6, "MB", "less", 1.0, 1, details)


def copies(text: str, path: Path, size: float) -> None:
    """The text; then again with some Chinese characters exchanged; and so on, anew each time, up to ``size`` bytes."""
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    characters = np.unique(points[(points >= 0x4E00) & (points < 0xA000)])
    ends = np.flatnonzero(points == ord("\n"))
    with path.open("wb") as out:
        for turn in count():
            table, rng = np.arange(0x110000, dtype="<u4"), np.random.default_rng(turn)
            chosen = rng.choice(characters, int(CHANGED * len(characters)) if turn else 0, replace=False)
            table[chosen] = rng.permutation(chosen)
            share = (size - out.tell()) / len(text.encode())
            stop = len(points) if share >= 1 else int(ends[int(share * (len(ends) - 1))]) + 1
            out.write(table[points[:stop]].tobytes().decode("utf-32-le").encode())
            if share <= 1:
                return


if __name__ == "__main__":
    main()
