"""datatrove's side of decontaminate: its own n-gram rule over items and documents from a file.

    python datatrove_decontaminate.py WORK.json label|query

`label` is its default (12 words, runs that reach into the answer), `query` also looks for runs of the question alone.
The indexer is asked for hashes directly, because as a step it imports lighteval. Prints which documents it drops
and how long the filter took for those from ``timed_from`` on as JSON. Imports nothing of Danlu.
"""

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer


def main() -> None:
    """Index the items, filter the documents."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    config = NGramsDecontConfig(find_query_ngrams=sys.argv[2] == "query")
    with TemporaryDirectory() as folder:
        NGramsDecontIndexer._requires_dependencies = []  # it needs lighteval only to fetch tasks
        indexer = NGramsDecontIndexer(folder, config=config)
        for name, items in work["sets"].items():
            hashes = {key for question, answer in items for key in indexer.compute_hashes(answer, question)}
            np.array(sorted(hashes), config.hash_config.np_descr).tofile(f"{folder}/{name}.index.hashes")
        step = NGramsDecontFilter(folder, config=config)
        step.filter(Document("load the index first", "warm-up"))
        dropped, began = [], 0.0
        for number, text in enumerate(work["documents"]):
            if number == work["timed_from"]:
                began = time.perf_counter()
            if step.filter(Document(text, str(number))) is not True:
                dropped.append(number)
        seconds = time.perf_counter() - began
    print(
        json.dumps({"dropped": dropped, "seconds": seconds, "versions": {"datatrove": metadata.version("datatrove")}})
    )


if __name__ == "__main__":
    main()
