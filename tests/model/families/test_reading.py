"""Configurations of every native family: both spellings, refusals by key, published shapes, and what stays danlu's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from family_cases import CASES, ENCODER, HEIRS, IDS, LLAMA3, scaled
from safetensors.torch import load_file, save_file

from danlu.base.errors import UserError
from danlu.model import families
from danlu.model.config import ModelConfig
from danlu.model.families import roberta
from danlu.model.families.shape import every
from danlu.model.grow import find_tables, grow
from danlu.model.hub import WEIGHTS, load_model, to_hub_config, to_hub_names
from danlu.model.transformer import Transformer

OLD: dict[str, dict[str, Any]] = {
    "llama3": {"rope_theta": 100.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
    "llama-linear": {"rope_theta": 100.0, "rope_scaling": {"type": "linear", "factor": 3.0}},
    "gpt_neox": {"rotary_emb_base": 100, "rotary_pct": 0.5},
    "gemma3-scaled": {"rope_theta": 900.0, "rope_local_base_freq": 50.0,
                      "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "phi3-part": {"rope_theta": 100.0, "rope_scaling": None, "partial_rotary_factor": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_the_spelling_before_transformers_5(name: str) -> None:
    case = CASES[name]
    new: dict[str, Any] = getattr(transformers, f"{case.kind}Config")(**case.values).to_dict()
    family = families.reading(new["model_type"])
    assert family is not None
    old = {key: value for key, value in new.items() if key != "rope_parameters"} | OLD[name]
    assert family.read(old, Path("config.json")) == family.read(new, Path("config.json"))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("llama2", {"hidden_act": "gelu"}, "activation 'gelu' is not supported in a llama model"),
    ("llama2", {"attention_bias": True}, "biases in attention but not"),
    ("llama2", {"rope_parameters": {"rope_type": "longrope", "factor": 4.0}}, "RoPE scaling 'longrope'"),
    ("llama2", {"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "RoPE scaling 'dynamic'"),
    ("llama-yarn", scaled("yarn", factor=4.0, attention_factor=3.0), "attention_factor 3.0"),
    ("llama-yarn", scaled("yarn", factor=4.0, mscale=0.7), "mscale 0.7"),
    ("llama-yarn", scaled("yarn", factor=4.0, truncate=False), "truncate False"),
    ("llama2", {"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
    ("mistral", {"layer_types": ["full_attention"] * 2}, "layer_types"),
    ("qwen2-window", {"layer_types": ["chunked_attention"] * 2}, "layer_types 'chunked_attention'"),
    ("qwen2-window", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types does not mark"),
    ("qwen3", {"attention_bias": True}, "attention_bias True"),
    ("smollm3", {"no_rope_layers": [0, 1, 1, 1, 1]}, "no_rope_layers does not mark"),
    ("gemma2", {"attention_bias": True}, "attention_bias True"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention True"),
    ("gemma2", {"hidden_activation": "silu"}, "activation 'silu' is not supported in a gemma2 model"),
    ("gemma3", {"attn_logit_softcapping": 5.0}, "attn_logit_softcapping 5.0"),
    ("phi3", {"rope_parameters": {"rope_type": "longrope"}}, "RoPE scaling 'longrope'"),
    ("phi3", {"resid_pdrop": 0.1}, "resid_pdrop 0.1"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
    ("gpt2", {"embd_pdrop": 0.3}, "resid_pdrop 0.1 other than embd_pdrop"),
    ("gpt2", {"activation_function": "relu"}, "activation 'relu'"),
    ("gpt_neox", {"attention_bias": False}, "attention_bias False"),
    ("bloom", {"apply_residual_connection_post_layernorm": True}, "apply_residual_connection_post_layernorm True"),
    ("bert", {"is_decoder": True}, "is_decoder True"),
    ("bert", {"tie_word_embeddings": False}, "tie_word_embeddings False"),
    ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
    ("roberta", {"hidden_act": "gelu_new"}, "activation 'gelu_new'"),
]


@pytest.mark.parametrize(("name", "changes", "problem"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_is_not_expressed_is_refused_by_its_key(name: str, changes: dict[str, Any], problem: str) -> None:
    case = CASES[name]
    values = getattr(transformers, f"{case.kind}Config")(**case.values).to_dict() | changes
    family = families.reading(values["model_type"])
    assert family is not None
    with pytest.raises(UserError) as caught:
        family.read(values, Path("config.json"))
    assert problem in str(caught.value)
    assert str(caught.value).startswith("config.json: ")


DANLU: list[dict[str, Any]] = [
    {"rope_scaling": "ntk", "rope_factor": 2.0},
    {"rope_scaling": "yarn", "rope_factor": 3.0},  # 64 / 3 is no length
    {"dropout": 0.1},
    {"activation": "geglu"},
    {"norm_place": "sandwich"},
    {"positions": "sinusoidal"},
    {"value_embeddings": True},
    {"window": 5, "rope_local_theta": 50.0},
    {"parallel": True},
    {"positions": "learned", "norm": "layernorm", "bias": True},  # GPT-2, but for fewer keys than queries
]


@pytest.mark.parametrize("changes", DANLU, ids=str)
def test_what_no_class_computes_stays_danlus(tiny: Any, changes: dict[str, Any]) -> None:
    config = tiny(**changes).config
    assert families.writing(config) is None
    assert to_hub_config(config, {})["model_type"] == "danlu"


def test_llama_comes_first_and_its_directory_is_as_it_was(tiny: Any) -> None:
    """Keys and their order, as written since the first release."""
    model = tiny()
    assert list(to_hub_config(model.config, {"pad_token_id": 0})) == [
        *("model_type", "architectures", "vocab_size", "num_hidden_layers", "hidden_size", "num_attention_heads"),
        *("num_key_value_heads", "head_dim", "intermediate_size", "hidden_act", "rms_norm_eps", "rope_theta"),
        *("rope_parameters", "max_position_embeddings", "tie_word_embeddings", "attention_bias", "mlp_bias"),
        *("dtype", "pad_token_id"),
    ]
    assert next(iter(to_hub_names(model.config, dict(model.named_parameters())))) == "model.embed_tokens.weight"


def test_berts_other_heads_are_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    values = {**ENCODER, "attention_probs_dropout_prob": 0.1}
    theirs = transformers.BertForPreTraining(transformers.BertConfig(**values)).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path).eval()
    said = capsys.readouterr().err
    assert "not kept when it is saved: bert.pooler.dense.bias, bert.pooler.dense.weight, cls.seq_relationship" in said
    assert "attention_probs_dropout_prob 0.1 is not taken over" in said
    assert ours.config.dropout == 0.1
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(input_ids=IDS).prediction_logits, rtol=1e-4, atol=1e-4)


def test_berts_norms_as_first_published(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = transformers.BertForMaskedLM(transformers.BertConfig(**ENCODER)).eval()
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    old = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
           for n, v in tensors.items()}  # fmt: skip
    assert old.keys() != tensors.keys()
    save_file(old, tmp_path / WEIGHTS)
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path).eval()(IDS), theirs(input_ids=IDS).logits, rtol=1e-4, atol=1e-4)


def test_robertas_padding_decides_where_positions_begin() -> None:
    """So no tokenizer's other id may take its place in the file."""
    values = transformers.RobertaConfig(**CASES["roberta"].values).to_dict()
    config = roberta.read(values, Path("config.json"))
    assert (config.position_offset, config.max_length) == (2, 62)
    assert to_hub_config(config, {"pad_token_id": 7, "eos_token_id": 5})["pad_token_id"] == 1
    assert to_hub_config(config, {"pad_token_id": 7, "eos_token_id": 5})["eos_token_id"] == 5


def test_every_so_many_layers() -> None:
    where = Path("config.json")
    assert every([False, False, True, False, False, True], 0, "k", where) == 3
    assert every([False, False], 6, "k", where) == 6
    assert every([False, False], 0, "k", where) == 0
    assert every([True, True], 0, "k", where) == 1
    with pytest.raises(UserError, match="k does not mark"):
        every([True, False], 0, "k", where)


def test_a_window_longer_than_the_model_is_its_length() -> None:
    values = transformers.MistralConfig(**{**HEIRS, "sliding_window": 4096}).to_dict()
    family = families.reading("mistral")
    assert family is not None
    assert family.read(values, Path("config.json")).window == 64


def test_norms_that_add_one_begin_at_zero(tiny: Any) -> None:
    config = ModelConfig(
        vocab_size=11, layers=1, width=8, heads=2, kv_heads=2, head_width=4, norm_plus_one=True, qk_norm=True
    )
    norms = {name: p for name, p in Transformer(config).named_parameters() if p.dim() == 1}
    assert norms
    assert all((p == 0).all() for p in norms.values())
    with pytest.raises(UserError, match="norm_plus_one is for rmsnorm"):
        ModelConfig(vocab_size=11, norm="layernorm", norm_plus_one=True)
    with pytest.raises(UserError, match="position_offset is for learned positions"):
        ModelConfig(vocab_size=11, position_offset=2)


def test_a_berts_vocabulary_grows_with_its_bias(tmp_path: Path) -> None:
    theirs = transformers.BertForMaskedLM(transformers.BertConfig(**ENCODER))
    theirs.save_pretrained(tmp_path / "old")
    values = json.loads((tmp_path / "old" / "config.json").read_text())
    found = find_tables(tmp_path / "old", values)
    assert found.bias is not None
    (tmp_path / "new").mkdir()
    grow(tmp_path / "old", tmp_path / "new", found, 64, 61, lambda tensor: np.ones((3, *tensor.shape[1:]), np.float32))
    (tmp_path / "new" / "config.json").write_text(json.dumps(values | {"vocab_size": 64}))
    ours = load_model(tmp_path / "new").eval()
    assert ours.output_bias is not None
    assert ours.output_bias.tolist()[61:] == [1.0] * 3
    with torch.no_grad():
        expected = theirs.eval()(input_ids=IDS).logits
        torch.testing.assert_close(ours(IDS)[..., :61], expected, rtol=1e-4, atol=1e-4)
