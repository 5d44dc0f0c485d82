"""The peer of tokenizer_training: `tokenizers` with its plain byte-level cutting, in a process of its own."""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers


def texts(path: str) -> Iterator[str]:
    """One a line."""
    with Path(path).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def peak() -> float:
    """The most memory that this process held, in MB; getrusage would count what its parent held when it was made."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1.024e-3


def main() -> None:
    """Train, save, say what it took."""
    work = json.loads(sys.argv[1])
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=work["pieces"],
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    began = time.perf_counter()
    core.train_from_iterator(texts(work["texts"]), trainer)
    seconds = time.perf_counter() - began
    Path(work["out"]).mkdir(exist_ok=True)
    core.save(str(Path(work["out"]) / "tokenizer.json"))
    print(json.dumps({"seconds": seconds, "megabytes": peak()}))


if __name__ == "__main__":
    main()
