"""A peer's side of pretrain_speed: litgpt's own pretraining loop over batches from a file, in its own environment.

    python litgpt_fit.py WORK.json compiled|plain

What `litgpt pretrain` does, through its own functions: its GPT in the shape of the weights that Danlu starts from, its
default precision, torch.compile as it always does (or, for comparison, not), AdamW as its recipes set it and `fit`. Its
rows hold one id more, because it cuts inputs and targets out of them. Prints seconds and loss of each step as JSON;
the first of them compiles. Imports nothing of Danlu.
"""

import contextlib
import json
import sys
import time
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.loggers import Logger
from litgpt.args import EvalArgs, TrainArgs
from litgpt.model import GPT, Config
from litgpt.pretrain import fit
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
from litgpt.utils import get_default_supported_precision, instantiate_torch_optimizer
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):  # type: ignore[type-arg]
    """The file's rows in their order."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids.reshape(-1, ids.shape[-1])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.ids[index], np.int64))


class Clock(Logger):
    """When each step ended, and its loss, as litgpt logs them."""

    name, version = "clock", 0

    def __init__(self) -> None:
        self.times, self.losses = [time.perf_counter()], list[float]()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.times.append(time.perf_counter())
        self.losses.append(float(metrics["loss"]))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Not needed."""


def load(weights: Path) -> GPT:
    """litgpt's GPT with the weights of a Hugging Face directory."""
    read = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    config = Config(
        name="bench",
        block_size=read["max_position_embeddings"],
        n_layer=read["num_hidden_layers"],
        n_embd=read["hidden_size"],
        n_head=read["num_attention_heads"],
        n_query_groups=read["num_key_value_heads"],
        head_size=read["head_dim"],
        intermediate_size=read["intermediate_size"],
        vocab_size=read["vocab_size"],
        padded_vocab_size=read["vocab_size"],
        norm_class_name="RMSNorm",
        norm_eps=read["rms_norm_eps"],
        mlp_class_name="LLaMAMLP",
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
    )
    model, state = GPT(config), dict[str, torch.Tensor]()
    copy_weights_hf_llama(config, {}, state, load_file(weights / "model.safetensors"))
    model.load_state_dict(state)
    if read["tie_word_embeddings"]:
        model.transformer.wte.weight = model.lm_head.weight
    return model


def train(work: dict[str, Any], compiled: bool) -> tuple[Clock, GPT]:
    """`main` of litgpt/pretrain.py after the weights are there."""
    ids, clock = np.load(work["longer"], mmap_mode="r"), Clock()
    steps, rows, length = ids.shape[0], ids.shape[1], ids.shape[2] - 1
    precision = get_default_supported_precision(training=True) if work["precision"] == "bf16" else "32-true"
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision=precision, loggers=[clock])
    fabric.seed_everything(0)
    plain = load(Path(work["weights"]))
    model = fabric.setup(torch.compile(plain) if compiled else plain)
    recipe = {"lr": work["lr"], "weight_decay": 0.1, "betas": [0.9, 0.95]}
    given = {"class_path": "torch.optim.AdamW", "init_args": recipe}
    optimizer = fabric.setup_optimizers(instantiate_torch_optimizer(given, model.parameters(), fused=False))
    loader = fabric.setup_dataloaders(DataLoader(Rows(ids), batch_size=rows))
    settings = TrainArgs(
        save_interval=None,
        global_batch_size=rows,
        micro_batch_size=rows,
        max_tokens=steps * rows * length,
        max_norm=1.0,
        min_lr=work["lr"],
        lr_warmup_steps=0,
    )
    state = {"model": model, "optimizer": optimizer, "train_dataloader": loader, "iter_num": 0, "step_count": 0}
    evaluation = EvalArgs(interval=steps + 1, initial_validation=False, final_validation=False)
    with TemporaryDirectory() as folder:
        fit(fabric, 1, state, loader, loader, Path(folder), None, settings, evaluation)
    return clock, plain


def main() -> None:
    """Train for as many steps as there are batches."""
    warnings.filterwarnings("ignore")
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(work["threads"])
    with contextlib.redirect_stdout(sys.stderr):
        clock, model = train(work, sys.argv[2] == "compiled")
    found = {
        "seconds": [after - before for before, after in zip(clock.times, clock.times[1:])],
        "losses": clock.losses,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": {name: metadata.version(name) for name in ("litgpt", "lightning", "torch")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
