"""A model for a task on disk: a Hugging Face directory that transformers opens by the class of the task.

``config.json`` names the class and the labels; what transformers has no key for (the longest text, how a vector is
pooled) stands under ``danlu_task``, which it leaves alone. A directory of vectors is also one of sentence-transformers.
Opened here is any of these as a trunk to learn another task on, a language model as well: what it had after its last
norm is left behind. Where transformers has no class (`families.tasks.LACKING`), Danlu alone reads what is written.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.base.files import write_text
from danlu.base.recipe import from_dict
from danlu.model import families
from danlu.model.config import ModelConfig
from danlu.model.families import tasks
from danlu.model.families.names import Tensors
from danlu.model.families.tasks import Shape
from danlu.model.foreign import Foreign
from danlu.model.hub import (
    fill_model,
    is_adapter,
    load_model,
    read_kind,
    read_weights,
    to_hub_config,
    to_hub_names,
    write_tensors,
)
from danlu.model.task_heads import NAME, OUTPUT, Head, Pooling, attach, bare, head_of, strip
from danlu.model.transformer import Transformer

KEY = "danlu_task"
PROBLEMS = {"classify": "single_label_classification", "regress": "regression"}
REMEDY = "Use a directory of a native family; danlu import or transformers can write one"


@dataclass(frozen=True)
class TaskInfo:
    """What a task's directory says of it."""

    kind: str
    """classify, tag, qa, regress or embed."""
    labels: tuple[str, ...] = ()
    """The labels in the order of the head's outputs; of regress one, of qa and embed none."""
    multi_label: bool = False
    """Any number of labels at once."""
    pooling: Pooling = "first"
    """Which vector the head reads, or the text becomes."""
    length: int = 256
    """Longest text in tokens."""
    stride: int = 0
    """Tokens that neighbouring windows of a longer text have in common."""
    unanswerable: bool = False
    """Some questions had no answer in their context."""
    longest_answer: int = 0
    """Most tokens of an answer."""

    @property
    def shape(self) -> Shape:
        """The kind of head."""
        shapes: dict[str, Shape] = {"tag": "token", "qa": "span", "embed": "none"}
        return shapes.get(self.kind, "sequence")

    @property
    def outputs(self) -> int:
        """Numbers that the head gives."""
        return {"qa": 2, "regress": 1}.get(self.kind, len(self.labels))


@dataclass
class Trunk:
    """A model without its output layer, and what is needed to write it again."""

    model: Transformer
    config: ModelConfig  # with the output layer that the family's class has
    kind: str  # the model type that it will be written as
    head: Tensors = field(default_factory=dict)  # of the directory, by the names it has there
    info: TaskInfo | None = None


def open_trunk(path: Path, *, output: bool = False) -> Trunk:
    """The trunk of a language model, of a plain model or of a task's; with ``output``, the masked head stays on."""
    if is_adapter(path):
        model = load_model(path)
        if isinstance(model, Foreign):
            raise UserError("the classes for tasks of its base are not known here", where=path, remedy=REMEDY)
        trunk = Trunk(model, model.config, _written(model.config))
        if not output:
            strip(model)
        return trunk
    kind, config = read_kind(path)
    family = families.reading(kind)
    if family is None and kind != "danlu":
        raise UserError(f"the classes for tasks of a {kind} model are not known here", where=path, remedy=REMEDY)
    values = _values(path)
    shape = tasks.shape_of(str((values.get("architectures") or [""])[0]))
    raw, head = tasks.from_class(read_weights(path), kind, shape)
    try:
        ours = raw if family is None else family.load(raw, config)
    except UserError as error:
        raise UserError(error.what, where=path) from None
    if not output:
        ours = {name: value for name, value in ours.items() if not name.startswith(OUTPUT)}
    model = Transformer(config if output else bare(config))
    if any(name.startswith(OUTPUT) and name not in ours for name, _ in model.named_parameters()):
        what = "has no output layer to find hidden tokens with"
        raise UserError(what, where=path, remedy="Use a masked language model, or leave the hidden tokens out")
    names = {name: families.theirs(getattr(family, "NAMES", {}), name) for name, _ in model.named_parameters()}
    fill_model(model, ours, names, path)
    return Trunk(model, config, _written(config), head, read_info(values, path))


def _written(config: ModelConfig) -> str:
    return str(to_hub_config(config, {})["model_type"])


def _values(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return found


def read_info(values: dict[str, Any], path: Path) -> TaskInfo | None:
    """What ``config.json`` says of a task, or None where it is no task's."""
    if KEY not in values:
        return None
    return from_dict(TaskInfo, values[KEY], f"{path / 'config.json'}: {KEY}")


def new_head(trunk: Trunk, info: TaskInfo, seed: int) -> Head | None:
    """A head for a task; layers that the directory already has are taken from it, the labels' if they are the same."""
    if info.shape == "none":
        return None
    width, names = trunk.config.width, tasks.names_of(trunk.kind, info.shape)
    bias = tasks.has_bias(trunk.kind, info.shape)
    dropout = trunk.config.dropout if not trunk.config.causal or info.shape == "token" else 0.0
    head = Head(width, info.outputs, dense="dense" in names, bias=bias, dropout=dropout, seed=seed)
    same = trunk.info is not None and (trunk.info.kind, trunk.info.labels) == (info.kind, info.labels)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            layer, _, part = name.partition(".")
            found = _found(trunk.head, f"{names[layer]}.{part}")
            if found is not None and found.shape == parameter.shape and (layer == "dense" or same):
                parameter.copy_(found)
    return head


def _found(head: Tensors, name: str) -> Tensor | None:
    """A head's tensor, with or without the name of the trunk before it."""
    return head.get(name, head.get(tasks.TRUNK.sub("", name, count=1)))


def open_task(path: Path) -> tuple[Transformer, TaskInfo]:
    """A task's directory as `save_task` wrote it, its head attached under the name ``task``."""
    trunk = open_trunk(path)
    if trunk.info is None:
        what = "is no directory of a task"
        raise UserError(what, where=path, remedy="Give one that 'danlu task train' wrote")
    head = new_head(trunk, trunk.info, 0)
    if head is not None:
        missing = [
            name
            for layer, name in tasks.names_of(trunk.kind, trunk.info.shape).items()
            if _found(trunk.head, f"{name}.weight") is None
        ]
        if missing:
            raise UserError(f"tensor {missing[0]}.weight is missing", where=path, remedy="The file is incomplete")
    attach(trunk.model, {} if head is None else {"task": head})
    return trunk.model.requires_grad_(False).eval(), trunk.info


def save_task(trunk: Trunk, info: TaskInfo, name: str, path: Path, tokens: dict[str, Any]) -> None:
    """Write the trunk and the head called ``name`` as the class of the task; ``tokens`` as in `hub.save_model`."""
    model, own = trunk.model, (f"{NAME}.", *OUTPUT)
    kept = {n: p.detach().cpu() for n, p in model.named_parameters() if not n.startswith(own)}
    tensors = tasks.to_class(to_hub_names(trunk.config, kept), trunk.kind, info.shape)
    if info.shape != "none":
        names = tasks.names_of(trunk.kind, info.shape)
        for parameter_name, parameter in head_of(model, name).named_parameters():
            layer, _, part = parameter_name.partition(".")
            tensors[f"{names[layer]}.{part}"] = parameter.detach().cpu()
    else:  # a pooler that the trunk came with is none of ours, and its class would miss it
        tensors |= {tasks.TRUNK.sub("", n, count=1): v for n, v in trunk.head.items() if "pooler.dense" in n}
    path.mkdir(parents=True, exist_ok=True)
    write_tensors({n: value.contiguous() for n, value in tensors.items()}, path)
    values = to_hub_config(trunk.config, tokens)
    architecture = tasks.class_of(values["architectures"][0], trunk.kind, info.shape)
    values |= {"architectures": [architecture], **_labels(info), KEY: asdict(info) | {"labels": list(info.labels)}}
    _write(path / "config.json", values)
    if info.kind == "embed":
        _write_pooling(path, info, trunk.config.width)


def _labels(info: TaskInfo) -> dict[str, Any]:
    """The keys of ``config.json`` by which transformers knows labels."""
    if info.kind in ("qa", "embed"):
        return {}
    labels = info.labels or ("score",)
    named: dict[str, Any] = {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }
    if info.kind != "tag":
        named["problem_type"] = "multi_label_classification" if info.multi_label else PROBLEMS[info.kind]
    return named


def _write_pooling(path: Path, info: TaskInfo, width: int) -> None:
    """The files by which sentence-transformers knows a directory: tokens, pooling, length 1."""
    kind = "sentence_transformers.models."
    steps = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    listed = [{"idx": i, "name": str(i), "path": p, "type": kind + t} for i, (p, t) in enumerate(steps)]
    modes = {"first": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}
    chosen = {f"pooling_mode_{mode}": how == info.pooling for how, mode in modes.items()}
    _write(path / "modules.json", listed)
    _write(path / "sentence_bert_config.json", {"max_seq_length": info.length, "do_lower_case": False})
    for folder in ("1_Pooling", "2_Normalize"):
        (path / folder).mkdir(exist_ok=True)
    _write(path / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **chosen})


def _write(path: Path, values: Any) -> None:
    write_text(path, json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def fold(head: Head, scale: float, shift: float) -> None:
    """Make a head that learned (score - shift) / scale give the score itself; without a bias ``shift`` must be 0."""
    with torch.no_grad():
        head.out.weight.mul_(scale)
        bias: nn.Parameter | None = head.out.bias
        assert bias is not None or not shift
        if bias is not None:
            bias.mul_(scale).add_(shift)
