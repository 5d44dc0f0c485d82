"""Each switch of a model can be set from a recipe, and does what it says there."""

import ast
import dataclasses
import inspect
import itertools
import typing

import pytest

from danlu.model import config as model_config
from danlu.model.config import ModelConfig
from danlu.model.kinds import Experts, StateSpace
from danlu.recipes import shape as recipe_shape
from danlu.recipes.pretrain import describe
from danlu.recipes.shape import Shape
from danlu.recipes.sizes import sized

DERIVED = {"vocab_size", "max_length"}  # of the tokenizer, and the recipe's length


def documented(module: object, name: str) -> dict[str, str]:
    """Field → the sentence under it."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found = {}
    for field, sentence in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(sentence, ast.Expr):
            found[field.target.id] = ast.literal_eval(sentence.value)
    return found


def test_every_switch_is_there_with_its_type_and_its_sentence() -> None:
    model, recipe = documented(model_config, "ModelConfig"), documented(recipe_shape, "Shape")
    assert {k: v for k, v in model.items() if k not in DERIVED} == recipe
    types, optional = typing.get_type_hints(ModelConfig), typing.get_type_hints(Shape)
    assert {name: types[name] | None for name in recipe} == optional  # X | None | None is X | None
    assert Shape() == Shape(**dict.fromkeys(recipe))  # unset, all of them


@pytest.mark.parametrize(("name", "value"), [
    ("layers", 3), ("heads", 2), ("kv_heads", 1), ("head_width", 32), ("feedforward", 99), ("activation", "geglu"),
    ("norm", "layernorm"), ("norm_place", "sandwich"), ("norm_epsilon", 1e-3), ("embedding_norm", True),
    ("parallel", True), ("positions", "none"), ("rope_theta", 5.0), ("rope_share", 0.5), ("rope_skip", 2),
    ("causal", False), ("window", 7), ("qk_norm", True), ("attention_scale", 0.3), ("attention_cap", 9.0),
    ("tied", True), ("bias", True), ("qkv_bias", True), ("embedding_multiplier", 2.0), ("head_transform", True),
    ("head_bias", True), ("logit_scale", 0.5), ("logit_cap", 15.0), ("value_embeddings", True),
    ("residual_scalars", True), ("dropout", 0.1), ("experts", Experts(4, 2, 64)),
    ("norm_plus_one", True), ("norm_weight", False), ("token_types", 2),
    ("state_space", StateSpace(state=16, attention_every=2)),
])  # fmt: skip
def test_a_switch_that_is_set_is_the_models(name: str, value: object) -> None:
    derived = sized("10M", 8000, 64)
    found = Shape(**{name: value}).apply(derived)
    assert getattr(found, name) == value != getattr(derived, name)


def test_unset_values_follow() -> None:
    assert Shape(positions="learned", position_offset=2).apply(sized("1M", 2000, 64)).position_offset == 2
    found = Shape(width=256).apply(sized("10M", 8000, 64))
    assert (found.heads, found.kv_heads, found.feedforward) == (4, 4, 704)
    found = Shape(window=9, global_every=2, rope_local_theta=9.0).apply(sized("1M", 2000, 64))
    assert (found.window, found.global_every, found.rope_local_theta) == (9, 2, 9.0)
    found = Shape(rope_scaling="yarn", rope_factor=4.0, rope_original=16, rope_low=1.5, rope_high=9.0).apply(found)
    assert (found.rope_scaling, found.rope_factor, found.rope_original) == ("yarn", 4.0, 16)


def test_a_line_says_every_switch_that_is_set() -> None:
    shape = Shape(qk_norm=True, window=9, causal=False, kv_heads=1).apply(sized("10M", 8000, 64))
    assert describe(shape) == (
        "10.7M parameters: 5 layers, width 320, 5 heads (1 for keys and values), swiglu 896, rope, rmsnorm, "
        "vocabulary 8000, length 64, not causal, window 9, qk norm"
    )
    shape = dataclasses.replace(shape, causal=True)
    mixed = Shape(experts=Experts(4, 2, 64), state_space=StateSpace(state=16, attention_every=2)).apply(shape)
    assert "2 of 4 experts a token, Mamba-2 of state 16" in describe(
        dataclasses.replace(mixed, window=0, qk_norm=False)
    )
