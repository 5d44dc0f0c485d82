"""The methods of fine-tuning: their learning rates, their settings, and what they need of a model and a tokenizer."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from danlu.base.errors import UserError
from danlu.model.adapters.method_settings import Prefix, Prompt, Ptuning
from danlu.model.adapters.quantization import Quantization

if TYPE_CHECKING:
    from danlu.model.config import ModelConfig
    from danlu.recipes.sft import Sft
    from danlu.recipes.task import TrainTask
    from danlu.tokens.tokenizer import Tokenizer

Method = Literal["full", "freeze", "lora", "qlora", "adapter", "prefix", "prompt", "ptuning", "ia3"]
# Those of matrices are Muon's at SmolLM2-135M; `danlu.plan.tuning` has other sizes. Two thin matrices move their
# product less than as large a step moves the matrix itself: held-out loss after 24 steps of LoRA at 3e-4, 1e-3, 4e-3,
# 1.6e-2: 1.773, 1.731, 1.691, 1.863, so half of the best, since longer runs bear less; in full 1e-3 fell behind 3e-4.
# A prefix and a prompt: Chinese answers, nats gained over the frozen model after 20 steps: a prefix 0.05 at 1e-3, 0.16
# at 1e-2 and -0.07 at 1e-1; a prompt 0.03 at 3e-3 and 0.06 at 3e-2.
RATES: dict[Method, float] = {
    "full": 3e-4,
    "freeze": 3e-4,
    "lora": 2e-3,
    "qlora": 2e-3,
    "adapter": 1e-3,
    "prefix": 1e-2,
    "prompt": 3e-2,
    "ptuning": 1e-3,
    "ia3": 1e-2,
}
LEAVES_A_MODEL = ("full", "freeze")  # the others leave an adapter
READS = {"lora": ("lora", "qlora"), "quantization": ("qlora",)}  # key → methods; the others' keys are called as they


def check_keys(recipe: "Sft | TrainTask") -> None:
    """A `UserError` for settings of a method that is not the recipe's."""
    for key in (*get_args(Method), "quantization"):
        keys, methods = getattr(recipe, key, None), READS.get(key, (key,))
        if recipe.method not in methods and keys is not None and keys != type(keys)():
            what = f"only --method {' or '.join(methods)} has such keys"
            raise UserError(what, where=f"recipe: {key}", remedy=f"Give --method {methods[0]}")
    if recipe.method == "lora" and recipe.lora.init == "loftq":
        what = "loftq begins with what rounding the model loses, and lora rounds nothing"
        raise UserError(what, where="recipe: lora.init", remedy="Give --method qlora")


def method_settings(recipe: "Sft") -> Any:
    """The settings of the recipe's method; None for full."""
    return recipe.lora if recipe.method == "qlora" else getattr(recipe, recipe.method, None)


def rounding(recipe: "Sft") -> Quantization | None:
    """How the model is put into four bits, if it is."""
    return recipe.quantization if recipe.method == "qlora" else None


def with_room(recipe: "Sft", config: "ModelConfig") -> "ModelConfig":
    """The shape, its length without what virtual tokens take of it; a `UserError` where a row does not fit then."""
    settings = method_settings(recipe)
    if not isinstance(settings, Prefix | Prompt | Ptuning):
        return config
    left = config.max_length - settings.tokens
    if recipe.length > left:
        what = f"length {recipe.length} and {settings.tokens} virtual tokens before each conversation are more than "
        what += f"the {config.max_length} tokens that the model allows"
        raise UserError(what, where="recipe", remedy=f"Use --length {left}" if left > 1 else "Use fewer of them")
    return replace(config, max_length=left)


def words(recipe: "Sft", tokenizer: "Tokenizer") -> list[int]:
    """The ids of the text that virtual tokens begin as, where they begin as one."""
    settings = method_settings(recipe)
    return tokenizer.encode(settings.text) if isinstance(settings, Prefix | Prompt) else []
