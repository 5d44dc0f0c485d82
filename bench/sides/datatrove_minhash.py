"""The peer's side of deduplication: datatrove's MinHash, in its own environment.

    python datatrove_minhash.py WORK

WORK is a JSON file: ``documents`` (a JSONL of texts), ``folder`` (an empty one), ``whole`` (all four stages, or the
signatures alone). The last line printed is JSON: the seconds that signatures took, the documents that it would remove
(by their number), and the versions. Settings are FineWeb's: word 5-grams, 14 buckets of 8 hashes.
"""

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from loguru import logger


def main() -> None:
    """Read, run, tell."""
    logger.remove()
    work: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with open(work["documents"], encoding="utf-8") as lines:
        texts = [json.loads(line) for line in lines]
    folder, config = Path(work["folder"]), MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    signatures = MinhashDedupSignature(str(folder / "signatures"), config)
    signatures.get_signature(signatures.get_shingles("Loading what splits words is not what is measured here."))
    began = time.perf_counter()
    signatures.run(iter([Document(text, str(n)) for n, text in enumerate(texts)]), 0, 1)
    seconds = time.perf_counter() - began
    removed = _removed(texts, folder, config) if work["whole"] else None
    versions = {name: metadata.version(name) for name in ("datatrove", "numpy", "spacy", "xxhash")}
    print(json.dumps({"seconds": seconds, "removed": removed, "versions": versions}))


def _removed(texts: list[str], folder: Path, config: MinhashConfig) -> list[int]:
    buckets = MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config)
    for rank in range(config.num_buckets):
        buckets.run(None, rank, config.num_buckets)
    MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=config).run(None, 0, 1)
    stays = MinhashDedupFilter(str(folder / "remove"))
    kept = {int(d.id) for d in stays.run(iter([Document(text, str(n)) for n, text in enumerate(texts)]), 0, 1)}
    return [n for n in range(len(texts)) if n not in kept]


if __name__ == "__main__":
    main()
