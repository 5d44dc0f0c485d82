"""The peer's side of pretrain_speed and memory: Hugging Face Trainer over batches from a file, in its own environment.

    python trainer.py WORK.json sdpa|eager [checkpointing]

LlamaForCausalLM from the weights that Danlu starts from as well, bf16 autocast unless the work says float32, the fused
AdamW, nothing logged or saved. Prints seconds and loss of each step as JSON, and the most memory that the process ever
had resident. Imports nothing of Danlu.
"""

import json
import resource
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, SequentialSampler
from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed


class Rows(Dataset):  # type: ignore[type-arg]
    """The file's rows in their order; the model shifts the labels itself."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids.reshape(-1, ids.shape[-1])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = torch.from_numpy(np.array(self.ids[index], np.int64))
        return {"input_ids": row, "labels": row}


class Clock(TrainerCallback):
    """When each step ended: the time of a step runs from the end of the one before."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())


class InOrder(Trainer):
    """Trainer, except that it takes the rows in their order and keeps the losses it computes anyway."""

    losses: list[torch.Tensor]

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(*given, **named)
        self.losses.append(loss)
        return loss


def main() -> None:
    """Train for as many steps as there are batches."""
    warnings.filterwarnings("ignore")
    work, attention = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2]
    torch.set_num_threads(work["threads"])
    set_seed(0)
    ids = np.load(work["batches"], mmap_mode="r")
    weights, clock = {"dtype": torch.float32, "attn_implementation": attention, "use_cache": False}, Clock()
    model = LlamaForCausalLM.from_pretrained(work["weights"], **weights)
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=len(ids),
            per_device_train_batch_size=ids.shape[1],
            learning_rate=work["lr"],
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            adam_beta2=0.95,
            weight_decay=0.1,
            max_grad_norm=1.0,
            bf16=work["precision"] == "bf16",
            gradient_checkpointing="checkpointing" in sys.argv,
            use_cpu=True,
            dataloader_num_workers=0,
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = InOrder(model, arguments, train_dataset=Rows(ids), callbacks=[clock])
        trainer.losses = []
        trainer.train()
    unit = 1 if sys.platform == "darwin" else 1024
    found = {
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "seconds": [after - before for before, after in zip(clock.times, clock.times[1:])],
        "losses": [float(loss) for loss in trainer.losses],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": {name: metadata.version(name) for name in ("transformers", "accelerate", "torch")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
