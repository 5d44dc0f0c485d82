"""The peer's side of time_to_loss: Hugging Face Trainer with its default recipe, for a time, in its own environment.

    python trainer_budget.py WORK.json

The default recipe is TrainingArguments as they come: fused AdamW with β 0.9 and 0.999 and no decay, a linear fall of
the learning rate, clipping at 1; given are only the learning rate, the batch and bf16 autocast. The model is
LlamaForCausalLM with transformers' own initialisation, the data are windows of the stream of ids one after another,
as run_clm.py makes them, in Trainer's own random order. Imports nothing of Danlu.
"""

import json
import math
import statistics
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed

TRIAL, UNTIMED, AT_ONCE = 8, 3, 32


class Windows(Dataset):  # type: ignore[type-arg]
    """The stream cut into rows; the model shifts the labels itself."""

    def __init__(self, ids: np.ndarray, length: int) -> None:
        self.ids = ids[: len(ids) // length * length].reshape(-1, length)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = torch.from_numpy(np.array(self.ids[index], np.int64))
        return {"input_ids": row, "labels": row}


@torch.no_grad()
def nats(model: Any, rows: np.ndarray) -> float:
    """Of every token but the first of each of the held-out ``rows`` [N, E + 1], together."""
    total = 0.0
    for start in range(0, len(rows), AT_ONCE):
        ids = torch.from_numpy(rows[start : start + AT_ONCE].astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids[:, :-1]).logits
        total += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(),
                                                         reduction="sum"))  # fmt: skip
    return total


class Clock(TrainerCallback):
    """Seconds of training alone, and what was measured after how many of them."""

    def __init__(self, model: Any, held_out: np.ndarray, every: int) -> None:
        self.model, self.held_out, self.every = model, held_out, every
        self.seconds, self.measured, self.since = list[float](), list[list[float]](), 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.since = time.perf_counter()

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        self.seconds.append(time.perf_counter() - self.since)
        step = state.global_step
        if step == state.max_steps or (self.every and step % self.every == 0):
            self.model.eval()
            self.measured.append([step, math.fsum(self.seconds), nats(self.model, self.held_out)])
            self.model.train()
        self.since = time.perf_counter()


class Kept(Trainer):
    """Trainer, except that it keeps the losses it computes anyway."""

    losses: list[torch.Tensor]

    def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(*given, **named)
        self.losses.append(loss)
        return loss


def train(work: dict[str, Any], steps: int, held_out: np.ndarray, evaluations: int) -> tuple[Clock, Kept]:
    """A run of ``steps`` from nothing."""
    set_seed(work["seed"])
    shape = work["model"]
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape["vocab_size"],
            num_hidden_layers=shape["layers"],
            hidden_size=shape["width"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"],
            head_dim=shape["head_width"],
            intermediate_size=shape["feedforward"],
            max_position_embeddings=shape["max_length"],
            tie_word_embeddings=shape["tied"],
            rms_norm_eps=1e-5,
            use_cache=False,
        )
    )
    clock = Clock(model, held_out, max(steps // evaluations, 1) if evaluations else 0)
    ids = np.load(work["stream"], mmap_mode="r")
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=work["rows"],
            learning_rate=work["lr"],
            bf16=work["precision"] == "bf16",
            use_cpu=True,
            seed=work["seed"],
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Kept(model, arguments, train_dataset=Windows(ids, work["length"]), callbacks=[clock])
        trainer.losses = []
        trainer.train()
    return clock, trainer


def main() -> None:
    """Find the number of steps, train, tell."""
    warnings.filterwarnings("ignore")
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(work["threads"])
    held_out = np.load(work["held_out"])
    steps = work["steps"]
    if work["seconds"]:
        trial, _ = train(work, TRIAL, held_out[:1], 0)
        steps = max(int(work["seconds"] / statistics.median(trial.seconds[UNTIMED:])), 2)
    clock, trainer = train(work, steps, held_out, work["evaluations"])
    found = {
        "steps": steps,
        "seconds": math.fsum(clock.seconds),
        "losses": [float(loss) for loss in trainer.losses],
        "measured": clock.measured,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "tokens": steps * work["rows"] * work["length"],
        "versions": {name: metadata.version(name) for name in ("transformers", "accelerate", "torch")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
