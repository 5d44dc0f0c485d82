"""The peer's side of encoding: datasets.map with a fast tokenizer of transformers, in an environment of its own.

    python datasets_map.py WORK

WORK is a JSON file: ``documents`` (Parquet files with a column text), ``tokenizer`` (a directory), ``processes``.
The last line printed is JSON: the seconds of the map alone (the files are read before, for nothing), the tokens, a
hash of all ids in order, and the versions. Special tokens written in a text are text, as on the other side. Imports
nothing of Danlu.
"""

import hashlib
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its processes fill the cores; threads beside them only cost
os.environ["HF_HUB_OFFLINE"] = "1"

import datasets
import numpy as np
from transformers import AutoTokenizer


def main() -> None:
    """Map, and say how long it took."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(work["tokenizer"], split_special_tokens=True)

    def encode(rows: dict[str, list[str]]) -> dict[str, Any]:
        found = tokenizer(rows["text"], add_special_tokens=False, return_attention_mask=False, verbose=False)
        return {"ids": found["input_ids"]}

    datasets.disable_progress_bars()
    with TemporaryDirectory() as cache:
        rows = datasets.load_dataset("parquet", data_files=work["documents"], split="train", cache_dir=cache)
        began = time.perf_counter()
        made = rows.map(encode, batched=True, num_proc=work["processes"], remove_columns=rows.column_names)
        seconds = time.perf_counter() - began
        digest, tokens = hashlib.sha256(), 0
        for batch in made.with_format("arrow").iter(1000):
            ids = batch["ids"].combine_chunks().flatten().to_numpy().astype(np.int64)
            digest.update(ids.tobytes())
            tokens += len(ids)
    versions = {name: metadata.version(name) for name in ("datasets", "transformers", "tokenizers", "pyarrow")}
    print(json.dumps({"seconds": seconds, "tokens": tokens, "digest": digest.hexdigest(), "versions": versions}))


if __name__ == "__main__":
    main()
