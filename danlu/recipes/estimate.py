"""How long a chain will take, roughly, before it starts: arithmetic over a measured rate.

The rate is this machine's matrix product in the format it will train in, of which a training step reaches
about `SHARE`. Minutes are for planning a coffee, not a deadline; the planner of a later stage does better.
"""

from pathlib import Path
from typing import Any

from danlu.base.device import matmul_flops, pick_device, pick_precision, torch_dtype
from danlu.base.progress import count
from danlu.recipes.auto import EPOCHS
from danlu.recipes.deriving import run_tokens, settle, shaped
from danlu.recipes.pretrain import Pretrain
from danlu.text import packages

SHARE = 0.4  # of the matrix-product peak; measured 0.35 to 0.6 over sizes and machines
BYTES_PER_TOKEN = 3.8
BYTES_PER_CHAT = 120
CLEAN_BYTES_PER_SECOND, TOKENIZE_BYTES_PER_SECOND = 2e6, 1.2e6
DECODE_STEP_SECONDS = 0.03  # of a batch of 128


def estimate(
    given: tuple[str, ...], dialogues: tuple[str, ...], recipes: dict[str, Any]
) -> dict[str, tuple[str, float]]:
    """Stage → (what it will do, seconds), from the raw text, the chats and the recipes of the stages."""
    trainer: Pretrain = recipes["pretrain"]
    vocabulary = recipes["tokenizer"].vocab_size
    device = pick_device(trainer.device)
    dtype = torch_dtype(pick_precision(trainer.precision, device))
    rate = SHARE * matmul_flops(dtype, kind=device.type)
    text, chats = size_of(given), size_of(dialogues)
    config, _ = shaped(trainer, vocabulary)
    run = run_tokens(trainer, config, int(text / BYTES_PER_TOKEN))
    trainer, _ = settle(trainer, config, run)
    steps = trainer.steps_of(int(run.value))
    tokens = steps * trainer.rows * trainer.length
    cost = config.flops_per_token(trainer.length) / rate
    found = {
        "clean": (f"{count(text)}B of text", text / CLEAN_BYTES_PER_SECOND),
        "tokenizer": (f"{vocabulary} ids", text / TOKENIZE_BYTES_PER_SECOND),
        "tokens": (f"about {count(text / BYTES_PER_TOKEN)} tokens", text / TOKENIZE_BYTES_PER_SECOND),
        "pretrain": (
            f"{count(config.parameters())} parameters, {count(tokens)} tokens",
            tokens * cost or trainer.seconds,
        ),
        "evaluation": ("held-out text and answers, xz -9e", text / 4e5 + 8),
        "model": ("Hugging Face directory", 1.0),
    }
    if "sft" in recipes:
        tuner = recipes["sft"]
        most = tuner.most_per_source * BYTES_PER_CHAT
        used = sum(min(size_of((source,)), most or chats) for source in dialogues)
        epochs = tuner.epochs or EPOCHS
        found["sft"] = (f"about {count(used)}B of chats, {epochs:g} epochs", epochs * used / BYTES_PER_TOKEN * cost)
    if "preferences" in recipes:
        sampler = recipes["preferences"]
        batches = sampler.prompts * sampler.answers / 128
        decoding = batches * sampler.max_new_tokens * DECODE_STEP_SECONDS
        found["preferences"] = (f"{sampler.prompts} prompts, {sampler.answers} answers each", decoding)
    if "dpo" in recipes:
        pairs = recipes["preferences"].prompts if "preferences" in recipes else 1000
        found["dpo"] = (f"about {pairs} pairs", recipes["dpo"].epochs * pairs * 2 * 128 * cost * 4 / 3)
    return found


def size_of(given: tuple[str, ...]) -> int:
    """Bytes of what is given, by file size, or by what is known of packages."""
    total = 0
    for source in given:
        if packages.is_package(source):
            name = packages.name_of(source)
            total += int(packages.PACKAGES[name].megabytes * 1e6) if name in packages.PACKAGES else 0
        else:
            path = Path(source)
            files = path.rglob("*") if path.is_dir() else [path]
            total += sum(file.stat().st_size for file in files if file.is_file())
    return total
