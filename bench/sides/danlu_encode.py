"""Our side of encoding: the stage behind `danlu tokenize`, in a process of its own.

    python danlu_encode.py WORK

WORK is a JSON file: ``data`` (a directory like that of 'danlu clean'), ``tokenizer``, ``out``, ``processes``. The last
line printed is JSON: the seconds of the whole stage, the tokens and a hash of all ids, begin and end marks left out.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from danlu.recipes.tokenize import Tokenize, run
from danlu.tokens.shards import Shards


def main() -> None:
    """Encode, and say how long it took."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    recipe = Tokenize(
        data=Path(work["data"]), tokenizer=Path(work["tokenizer"]), out=Path(work["out"]), workers=work["processes"]
    )
    began = time.perf_counter()
    run(recipe, fresh=True)
    seconds = time.perf_counter() - began
    shards, digest, tokens = Shards.open(recipe.out / "train"), hashlib.sha256(), 0
    for number in range(len(shards)):
        ids = shards[number][1:-1].astype(np.int64)
        digest.update(ids.tobytes())
        tokens += len(ids)
    print(json.dumps({"seconds": seconds, "tokens": tokens, "digest": digest.hexdigest()}))


if __name__ == "__main__":
    main()
