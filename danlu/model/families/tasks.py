"""What the classes of transformers for tasks with labels are called, and their heads' tensors, by model type.

A head has at most two layers here: ``dense``, which BERT and RoBERTa have before the tanh of a whole text's label, and
``out``. What a class calls its trunk is what the language model's class calls it, but for one habit: for questions
some of Llama's heirs call it ``transformer`` (transformers 5.23). `LACKING` is what transformers has no class for.
"""

import re
from typing import Literal

from danlu.model.families.names import Names, Tensors

Shape = Literal["sequence", "token", "span", "none"]  # one label a text, one a token, two places, or no head at all
SUFFIXES: dict[Shape, str] = {
    "sequence": "ForSequenceClassification",
    "token": "ForTokenClassification",
    "span": "ForQuestionAnswering",
    "none": "Model",
}
LACKING: dict[str, tuple[Shape, ...]] = {
    "gemma2": ("span",),
    "gemma3_text": ("token", "span"),
    "phi3": ("span",),
    "mamba2": ("sequence", "token", "span"),
    "danlu": ("sequence", "token", "span", "none"),
}
CLASSIFIER = ("gpt2", "gpt_neox", "bloom", "bert", "roberta")  # call the layer of a token's label so; others score
OTHER_TRUNK = ("llama", "qwen2", "qwen3", "smollm3", "qwen3_moe")
STEMS = {"gemma3_text": "Gemma3Text"}  # where the text's class has another name than the language model's
LANGUAGE_MODEL = re.compile(r"(ForCausalLM|LMHeadModel|ForMaskedLM)$")
HEAD = re.compile(r"^(score|classifier|qa_outputs)\.|(^|\.)pooler\.dense\.")  # tensors of any head
TRUNK = re.compile(r"^(model|transformer|gpt_neox|bert|roberta)\.")


def class_of(architecture: str, kind: str, shape: Shape) -> str:
    """The class for a task, from the language model's: LlamaForCausalLM → LlamaForSequenceClassification."""
    return STEMS.get(kind, LANGUAGE_MODEL.sub("", architecture)) + SUFFIXES[shape]


def shape_of(architecture: str) -> Shape | None:
    """What a class's name says of its head; None for a class that is no task's."""
    return next((shape for shape, suffix in SUFFIXES.items() if architecture.endswith(suffix)), None)


def names_of(kind: str, shape: Shape) -> Names:
    """The layers of a head by the names that the class gives them."""
    if shape == "none":
        return {}
    if shape == "span":
        return {"out": "qa_outputs"}
    if shape == "token":
        return {"out": "classifier" if kind in CLASSIFIER else "score"}
    pooled = {"bert": ("bert.pooler.dense", "classifier"), "roberta": ("classifier.dense", "classifier.out_proj")}
    if kind in pooled:
        return dict(zip(("dense", "out"), pooled[kind], strict=True))
    return {"out": "score"}


def has_bias(kind: str, shape: Shape) -> bool:
    """Has the last layer a bias? For a whole text's label only BERT's and RoBERTa's have."""
    return shape != "sequence" or kind in ("bert", "roberta")


def to_class(tensors: Tensors, kind: str, shape: Shape) -> Tensors:
    """The trunk's tensors as the language model's class names them → as the task's class does."""
    if shape == "none" and kind != "danlu":
        return {TRUNK.sub("", name, count=1): value for name, value in tensors.items()}
    if shape == "span" and kind in OTHER_TRUNK:
        return {re.sub(r"^model\.", "transformer.", name): value for name, value in tensors.items()}
    return tensors


def from_class(tensors: Tensors, kind: str, shape: Shape | None) -> tuple[Tensors, Tensors]:
    """What a directory holds, as (the trunk by the language model's names, the head by its own)."""
    head = {name: value for name, value in tensors.items() if HEAD.search(name)}
    trunk = {name: value for name, value in tensors.items() if name not in head}
    if shape == "span" and kind in OTHER_TRUNK:
        trunk = {re.sub(r"^transformer\.", "model.", name): value for name, value in trunk.items()}
    return trunk, head
