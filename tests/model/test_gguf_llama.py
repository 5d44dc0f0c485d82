"""A GGUF file's weights and shape: what the directory computes is what llama.cpp computes."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import gguf_files
import llama_cpp
import numpy as np
import pytest
import torch
from gguf_files import LENGTH, SHAPE, WIDTH
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from danlu.base.errors import UserError
from danlu.model import gguf_llama
from danlu.model.config import ModelConfig
from danlu.model.gguf import read_gguf
from danlu.model.gguf_llama import config_of, unpermute, weights_of
from danlu.model.hub import load_model, to_hub_config
from danlu.model.stream import Streamed, write_weights

VOCAB = 97
IDS = np.random.default_rng(3).integers(0, VOCAB, LENGTH).tolist()


def directory(path: Path, out: Path) -> Path:
    """The Hugging Face directory, without a tokenizer."""
    file = read_gguf(path)
    config = config_of(file)
    out.mkdir(parents=True, exist_ok=True)
    write_weights(
        out, [Streamed(w.name, w.shape, partial(w.chunks, file)) for w in weights_of(file, config)], "float32"
    )
    (out / "config.json").write_text(json.dumps(to_hub_config(config, {})), encoding="utf-8")
    return out


def logits(model: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    with torch.no_grad():
        out = model.eval()(torch.tensor([IDS]))
    return np.asarray((out if isinstance(out, torch.Tensor) else out.logits)[0])


def in_formats(values: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Each matrix in the next of all formats; vectors in float32."""
    draw = np.random.default_rng(7)
    forms = iter(list(gguf_files.FORMATS) * 4)
    chosen = {name: next(forms) if value.ndim > 1 else "F32" for name, value in values.items()}
    assert set(chosen.values()) == set(gguf_files.FORMATS)
    return {name: (gguf_files.packed(value, chosen[name], draw), chosen[name]) for name, value in values.items()}


@pytest.mark.parametrize(("tied", "bias"), [(True, ()), (False, ("attn_q", "attn_k", "attn_v", "attn_output"))])
def test_the_logits_are_those_of_llama_cpp(tmp_path: Path, tied: bool, bias: tuple[str, ...]) -> None:
    tensors = in_formats(gguf_files.weights(VOCAB, tied=tied, bias=bias))
    path = gguf_files.write(tmp_path / "a.gguf", tensors, gguf_files.metadata(VOCAB))
    stored = {name: gguf_files.unpacked(data, form) for name, (data, form) in tensors.items()}
    made = directory(path, tmp_path / "out")
    ours = logits(load_model(made))
    wanted = llama_cpp.logits(stored, SHAPE, IDS)
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-4)
    np.testing.assert_allclose(logits(AutoModelForCausalLM.from_pretrained(made)), wanted, rtol=0, atol=2e-4)
    halves = llama_cpp.logits(stored, SHAPE, IDS, neighbours=False)  # what the rows say if they are left as they are
    assert np.abs(halves - wanted).max() > 0.5
    assert load_model(made).config.tied is tied


def test_qwen2_stays_a_qwen2(tmp_path: Path) -> None:
    """Its rows were never permuted, and its biases are where they were."""
    torch.manual_seed(0)
    theirs = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCAB,
            hidden_size=WIDTH,
            intermediate_size=gguf_files.FEEDFORWARD,
            num_hidden_layers=SHAPE["layers"],
            num_attention_heads=SHAPE["heads"],
            num_key_value_heads=SHAPE["kv_heads"],
            max_position_embeddings=LENGTH,
            rms_norm_eps=SHAPE["epsilon"],
            tie_word_embeddings=False,
        )
    )
    # Names as in the gguf package's own table
    table = gguf_files.gguf.get_tensor_name_map(gguf_files.gguf.MODEL_ARCH.QWEN2, SHAPE["layers"])
    tensors = {}
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
            tensors[table.get_name(name, try_suffixes=(".weight", ".bias"))] = (parameter.numpy(), "F32")
    path = gguf_files.write(tmp_path / "a.gguf", tensors, gguf_files.metadata(VOCAB, "qwen2"), "qwen2")
    made = load_model(directory(path, tmp_path / "out"))
    np.testing.assert_allclose(logits(made), logits(theirs), rtol=0, atol=1e-4)
    assert made.config.qkv_bias
    assert made.blocks[0].attention.o.bias is None
    assert made.blocks[0].attention.q.bias.all()
    assert isinstance(AutoModelForCausalLM.from_pretrained(tmp_path / "out"), Qwen2ForCausalLM)


def written(tmp_path: Path, values: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A llama file without a tokenizer; ``changes`` replace tensors, None removes one."""
    tensors = {name: (value, "F32") for name, value in gguf_files.weights(VOCAB, tied=True).items()}
    for name, value in changes.items():
        tensors.pop(name, None)
        if value is not None:
            tensors[name] = (np.asarray(value, np.float32), "F32")
    return gguf_files.write(tmp_path / "a.gguf", tensors, gguf_files.metadata(VOCAB) | (values or {}))


def test_the_shape_is_what_the_metadata_say(tmp_path: Path) -> None:
    values = {"llama.rope.freq_base": 123_456.0, "llama.attention.layer_norm_rms_epsilon": 1e-6}
    config = config_of(read_gguf(written(tmp_path, values)))
    assert config == ModelConfig(
        vocab_size=VOCAB,
        layers=3,
        width=256,
        heads=4,
        kv_heads=2,
        head_width=64,
        feedforward=512,
        norm_epsilon=1e-6,  # and not 9.999999974752427e-07, its nearest float32
        rope_theta=123_456.0,
        max_length=LENGTH,
        tied=True,
        bias=False,
    )


def test_what_the_metadata_may_leave_out(tmp_path: Path) -> None:
    left_out = {"llama.rope.freq_base": None, "llama.attention.head_count_kv": None, "llama.vocab_size": None}
    config = config_of(read_gguf(written(tmp_path, left_out)))
    assert (config.rope_theta, config.kv_heads, config.vocab_size) == (10_000.0, 4, VOCAB)


def test_layers_may_each_say_the_same(tmp_path: Path) -> None:
    same = written(tmp_path, {"llama.attention.head_count_kv": [2, 2, 2]})
    assert config_of(read_gguf(same)).kv_heads == 2
    refused(
        tmp_path, {"llama.feed_forward_length": [512, 512, 256]}, {}, "llama.feed_forward_length differs from layer"
    )


def refused(tmp_path: Path, values: dict[str, Any], changes: dict[str, Any], sentence: str) -> None:
    file = read_gguf(written(tmp_path, values, **changes))
    with pytest.raises(UserError, match=sentence) as caught:
        weights_of(file, config_of(file))
    assert "\n" not in str(caught.value)


NORM = np.ones(WIDTH)
UNFIT: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no layers": ({"llama.block_count": None}, {}, r"metadata key 'llama\.block_count' is missing"),
    "a text": ({"llama.block_count": "3"}, {}, r"metadata key 'llama\.block_count' is not a whole number"),
    "no heads": ({"llama.attention.head_count": 0}, {}, r"llama\.attention\.head_count is 0, and no model has that"),
    "odd heads": ({"llama.attention.head_count": 7}, {}, "7 heads do not divide a width of 256"),
    "three key heads": ({"llama.attention.head_count_kv": 3}, {}, "kv_heads 3 do not divide heads 4"),
    "too many layers": ({"llama.block_count": 2**32 - 1}, {}, "llama.block_count is 4294967295, and no model has that"),
    "a layer too many": ({"llama.block_count": 4}, {}, r"tensor blk\.3\.attn_norm\.weight is missing"),
    "a layer too few": ({"llama.block_count": 2}, {}, r"tensor blk\.2\..* \(F32\) has no place in a Llama model"),
    "other width": ({"llama.feed_forward_length": 768}, {}, r"blk\.0\.ffn_gate\.weight \(F32\) has shape \[512, 256\], and the metadata say \[768, 256\]"),
    "experts": ({"llama.expert_count": 8}, {}, r"llama\.expert_count is 8, which is not supported"),
    "scaling": ({"llama.rope.scaling.type": "yarn"}, {}, r"llama\.rope\.scaling\.type is yarn, which is not supported"),
    "half a rope": ({"llama.rope.dimension_count": 32}, {}, "llama.rope.dimension_count is 32 and a head is 64 wide"),
    "narrow values": ({"llama.attention.value_length": 32}, {}, "value_length is 32 and a head is 64 wide"),
    "scales": ({}, {"rope_freqs.weight": [1.0] * 31 + [8.0]}, r"RoPE scaling \(tensor rope_freqs\.weight \(F32\)\)"),
    "no embedding": ({}, {"token_embd.weight": None}, r"tensor token_embd\.weight is missing"),
    "no last norm": ({}, {"output_norm.weight": None}, r"tensor output_norm\.weight is missing"),
    "a norm of Q": ({}, {"blk.0.attn_q_norm.weight": NORM}, r"tensor blk\.0\.attn_q_norm\.weight \(F32\) has no place"),
    "a vector": ({}, {"blk.1.attn_q.weight": NORM}, r"blk\.1\.attn_q\.weight \(F32\) has shape \[256\], and the metadata say \[256, 256\]"),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNFIT)
def test_what_does_not_fit_is_named(tmp_path: Path, fault: str) -> None:
    refused(tmp_path, *UNFIT[fault])


def test_scales_of_one_are_no_scaling(tmp_path: Path) -> None:
    file = read_gguf(written(tmp_path, **{"rope_freqs.weight": [1.0] * 32}))
    assert len(weights_of(file, config_of(file))) == 2 + 9 * 3


def test_another_family_is_refused(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "a.gguf", {}, gguf_files.metadata(VOCAB, "gemma3"), "gemma3")
    with pytest.raises(UserError, match=r"architecture 'gemma3' is not supported\. Supported: llama, qwen2"):
        config_of(read_gguf(path))


@pytest.mark.parametrize("chunk", [1, 256, 5_000, 20_000, 10**9])
def test_the_size_of_chunks_changes_nothing(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read_gguf(written(tmp_path))
    weights = weights_of(file, config_of(file))
    wanted = [np.concatenate(list(weight.chunks(file))) for weight in weights]
    monkeypatch.setattr(gguf_llama, "CHUNK", chunk)
    for weight, values in zip(weights, wanted, strict=True):
        chunks = list(weight.chunks(file))
        np.testing.assert_array_equal(np.concatenate(chunks), values)
        assert max(c.size for c in chunks) <= max(chunk, (weight.head or 1) * values.shape[-1])
    assert (len(list(weights[3].chunks(file))) > 1) is (chunk < 10**6)


def test_unpermuting_undoes_what_llama_cpp_did() -> None:
    """convert_hf_to_gguf.py: ``reshape(heads, 2, W / 2, D).swapaxes(1, 2)``."""
    for heads, width in ((1, 2), (3, 8), (2, 64)):
        rows = np.random.default_rng(0).standard_normal((heads * width, 5)).astype(np.float32)
        permuted = rows.reshape(heads, 2, width // 2, 5).swapaxes(1, 2).reshape(rows.shape)
        np.testing.assert_array_equal(unpermute(permuted, width), rows)
        assert width == 2 or not np.array_equal(permuted, rows)
