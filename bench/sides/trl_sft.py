"""The peer's side of sft_speed: TRL's SFTTrainer with peft, or a loop by hand over packed rows, in its own environment.

    python trl_sft.py WORK.json lora|full|qlora default|plain|hand

``default`` is SFTTrainer as it comes (it recomputes activations), ``plain`` without that, ``hand`` is a loop around the
same model in bf16 over the samples of a step as one row, their positions beginning anew: what somebody who knows both
libraries could write. All begin from the adapter that Danlu begins from. Imports nothing of Danlu.
"""

import sys
import warnings
from importlib import metadata
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sft_rows import Sample, Times, read, tell
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed

VERSIONS = ("trl", "peft", "transformers", "accelerate", "torch", "bitsandbytes")


def open_model(work: dict[str, Any], method: str, dtype: torch.dtype) -> Any:
    """The base, with the adapter where one is trained."""
    more: dict[str, Any] = {"dtype": dtype}
    if method == "qlora":
        from transformers import BitsAndBytesConfig

        more["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        more["device_map"] = "cpu"
    model = AutoModelForCausalLM.from_pretrained(work["model"], **more)
    if method == "full":
        return model
    from peft import PeftModel, prepare_model_for_kbit_training

    if method == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return PeftModel.from_pretrained(model, work["adapter"], is_trainable=True)


class Clock(TrainerCallback):  # type: ignore[misc]
    """The end of each step."""

    def __init__(self) -> None:
        self.times = Times()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.times = Times()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.end()


def trainer(work: dict[str, Any], groups: list[list[Sample]], method: str, way: str) -> tuple[Times, list[float], Any]:
    """SFTTrainer over the samples in their order, a group a step."""
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import SFTConfig, SFTTrainer

    losses: list[torch.Tensor] = []

    class InOrder(SFTTrainer):  # type: ignore[misc]
        """SFTTrainer, except that it keeps the order and the losses that it computes anyway."""

        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

        def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
            loss = super().training_step(*given, **named)
            losses.append(loss)
            return loss

    samples = [sample for group in groups for sample in group]
    rows = Dataset.from_dict(
        {"input_ids": [ids for ids, _ in samples], "completion_mask": [mask for _, mask in samples]}
    )
    clock = Clock()
    more = {} if way == "default" else {"gradient_checkpointing": False}
    with TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            max_steps=len(groups),
            per_device_train_batch_size=len(groups[0]),
            max_length=work["length"],
            completion_only_loss=True,
            learning_rate=work["lr"],
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            bf16=work["precision"] == "bf16",
            use_cpu=True,
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **more,
        )
        model = open_model(work, method, torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(work["model"])
        run = InOrder(model, arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[clock])
        run.train()
    return clock.times, [float(loss) for loss in losses], model


def by_hand(work: dict[str, Any], groups: list[list[Sample]], method: str) -> tuple[Times, list[float], Any]:
    """The samples of a step in one row, everything in bf16 but the adapter."""
    model = open_model(work, method, torch.bfloat16)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=work["lr"], weight_decay=0.0, fused=True)
    model.train()
    times, losses = Times(), list[float]()
    for group in groups:
        ids = torch.tensor([[i for ids, _ in group for i in ids]])
        places = torch.tensor([[t for ids, _ in group for t in range(len(ids))]])
        labels = torch.tensor(
            [[i if t and m else -100 for ids, mask in group for t, (i, m) in enumerate(zip(ids, mask))]]
        )
        loss = model(input_ids=ids, position_ids=places, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss))
        times.end()
    return times, losses, model


def main() -> None:
    """Train on every group."""
    warnings.filterwarnings("ignore")
    work, groups = read(sys.argv[1])
    method, way = sys.argv[2:4]
    torch.set_num_threads(work["threads"])
    set_seed(0)
    times, losses, model = by_hand(work, groups, method) if way == "hand" else trainer(work, groups, method, way)
    learned = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    tell(times, losses, groups, parameters=learned, versions={name: metadata.version(name) for name in VERSIONS})


if __name__ == "__main__":
    main()
