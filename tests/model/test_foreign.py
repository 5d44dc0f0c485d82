"""A model of transformers behind our interface: its loss and gradient, packed documents apart, one sentence for the rest.

OPT has learned positions, StableLM RoPE in part and an untied head, MPT ALiBi, Mamba a state in place of attention, and
DistilBERT is masked; Cohere scales its logits. None is native.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from danlu.base import artifact
from danlu.base.errors import MissingExtra, UserError
from danlu.base.seed import derive
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.model.foreign import Foreign, ForeignConfig
from danlu.model.hub import WEIGHTS, load_model, read_config, save_model
from danlu.model.transformer import Transformer
from danlu.objectives.next_token import NextToken
from danlu.tokens.batches import Batch

SHAPE = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MODELS: dict[str, dict[str, Any]] = {
    "OPTForCausalLM": {**SHAPE, "ffn_dim": 48, "max_position_embeddings": 64, "word_embed_proj_dim": 32, "dropout": 0.0,
                       **TOKENS},
    "StableLmForCausalLM": {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64,
                            **TOKENS},
    "MptForCausalLM": {"vocab_size": 61, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, **TOKENS},
    "MambaForCausalLM": {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, **TOKENS},
    "DistilBertForMaskedLM": {"vocab_size": 61, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "dropout": 0.0,
                              "attention_dropout": 0.0, "max_position_embeddings": 64, "pad_token_id": 0},
}  # fmt: skip
IDS = torch.randint(3, 61, (2, 14), generator=torch.Generator().manual_seed(0))
SEGMENTS = torch.tensor([[0] * 5 + [1] * 8 + [-1], [0] * 7 + [1] * 7], dtype=torch.int32)


@dataclass(frozen=True)
class Make:
    """A recipe."""


def build(name: str, path: Path, **changes: Any) -> Any:
    """A random model whose every weight counts, saved in ``path``."""
    values = MODELS.get(name, {}) | changes
    config = getattr(transformers, name.replace("ForCausalLM", "Config").replace("ForMaskedLM", "Config"))(**values)
    network = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(derive(0, key)))
            parameter.add_(noise, alpha=0.1)
    network.save_pretrained(path)
    return network


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Transformer, Path]:
    path = tmp_path_factory.mktemp(request.param)
    network = build(request.param, path)
    return network, load_model(path).eval(), path


def test_logits_are_its_own(pair: tuple[Any, Transformer, Path]) -> None:
    theirs, ours, path = pair
    assert isinstance(ours, Foreign)
    assert read_config(path) == ours.config
    assert ours.config.parameters() == sum(p.numel() for p in theirs.parameters())
    assert ours.config.causal == ("CausalLM" in type(theirs).__name__)
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(input_ids=IDS).logits, rtol=1e-5, atol=1e-5)
        assert ours.features(IDS).shape == ours.hidden(IDS).shape == (2, 14, 32)


def test_a_training_step_has_its_loss_and_gradient(pair: tuple[Any, Transformer, Path]) -> None:
    theirs, ours, _ = pair
    if not ours.config.causal:
        pytest.skip("a masked model predicts no next token")
    batch = Batch(IDS, torch.ones(2, 14), torch.zeros(2, 14, dtype=torch.int32))
    theirs.zero_grad()
    ours.zero_grad()
    loss, _ = NextToken()(ours, batch)
    wanted = theirs(input_ids=IDS, labels=IDS).loss
    torch.testing.assert_close(loss / NextToken().weight(batch), wanted, rtol=1e-5, atol=1e-5)
    (loss / NextToken().weight(batch)).backward()
    wanted.backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None and other.grad is not None:
            assert (mine.grad - other.grad).norm() <= 1e-4 * other.grad.norm() + 1e-6, name


def test_packed_documents_never_see_each_other(pair: tuple[Any, Transformer, Path]) -> None:
    _, ours, _ = pair
    segments = SEGMENTS
    before = ours(IDS, segments)
    for of in (0, 1):
        after = ours(IDS.where(segments != of, IDS % 57 + 3), segments)
        assert torch.equal(before[segments != of], after[segments != of])
        assert (before[segments == of] != after[segments == of]).any(dim=-1).all()
    for row in (0, 1):
        for of in (0, 1):
            where = SEGMENTS[row] == of
            alone = ours(IDS[row : row + 1, where])[0]
            torch.testing.assert_close(before[row, where], alone, rtol=1e-4, atol=1e-4)


def test_packing_changes_no_gradient(pair: tuple[Any, Transformer, Path]) -> None:
    _, ours, _ = pair
    ours.zero_grad()
    ours(IDS, SEGMENTS)[SEGMENTS >= 0].square().sum().backward()
    together = [None if p.grad is None else p.grad.clone() for p in ours.parameters()]
    ours.zero_grad()
    for row in (0, 1):
        for of in (0, 1):
            ours(IDS[row : row + 1, SEGMENTS[row] == of]).square().sum().backward()
    # A key's bias moves no loss: what is found of its gradient is what rounding leaves of numbers a billion times larger.
    rounding = 1e-8 * max(float(p.grad.norm()) for p in ours.parameters() if p.grad is not None)
    for one, parameter in zip(together, ours.parameters(), strict=True):
        assert (one is None) == (parameter.grad is None)
        if one is not None and parameter.grad is not None:
            assert (one - parameter.grad).norm() <= 1e-4 * parameter.grad.norm() + rounding


def test_generation_is_its_own(pair: tuple[Any, Transformer, Path]) -> None:
    """Prompts of two lengths, so one is padded on the left."""
    theirs, ours, _ = pair
    prompts = [IDS[0, :9].tolist(), IDS[1, :4].tolist()]
    if not ours.config.causal:
        with pytest.raises(UserError, match="an encoder sees all tokens at once and generates none"):
            Engine(ours, ()).generate(prompts, Sampling(max_new_tokens=6))
        return
    answers = Engine(ours, ()).generate(prompts, Sampling(max_new_tokens=6, temperature=0.0))
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        for token in answer.ids:
            with torch.no_grad():
                assert token == int(theirs(input_ids=ids).logits[0, -1].argmax())
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_it_is_saved_as_it_was(pair: tuple[Any, Transformer, Path], tmp_path: Path) -> None:
    theirs, ours, _ = pair
    save_model(ours, tmp_path, {"pad_token_id": 0, "eos_token_id": 2}, stop_ids=(2, 5))
    assert not list(tmp_path.glob("*.bin"))
    opened, said = type(theirs).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all(torch.equal(a, b) for a, b in zip(opened.parameters(), theirs.parameters(), strict=True))
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [2, 5]
    again = load_model(tmp_path)
    assert again.config == ours.config
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), ours.parameters(), strict=True))


def test_it_is_said_once_that_it_is_not_native(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build("OPTForCausalLM", tmp_path)
    capsys.readouterr()
    model = load_model(tmp_path)
    model(IDS)
    assert capsys.readouterr().err.count("opt is not a native family; it runs through transformers") == 1


def test_checkpointing_and_half_precision(tmp_path: Path) -> None:
    build("StableLmForCausalLM", tmp_path)
    model = load_model(tmp_path).train()
    expected = model(IDS)
    expected.square().sum().backward()
    wanted = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    assert not model.checkpointing
    model.checkpointing = True
    assert model.checkpointing
    model(IDS).square().sum().backward()
    for one, parameter in zip(wanted, model.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(one, parameter.grad)
    model.checkpointing = False
    with pytest.raises(UserError, match=r"recipe: compile: the blocks .* are not known here"):
        model.compile_blocks()
    model.compute_dtype = torch.bfloat16
    rough = model(IDS)
    assert rough.dtype == torch.bfloat16
    assert 0 < (rough.float() - expected).norm() < 0.05 * expected.norm()
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_logits_that_are_scaled(tmp_path: Path) -> None:
    changes = {**SHAPE, "intermediate_size": 48, "max_position_embeddings": 64, "logit_scale": 0.25, **TOKENS}
    theirs = build("CohereForCausalLM", tmp_path, **changes)
    ours = load_model(tmp_path)
    assert ours.config.logit_scale == 0.25
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(input_ids=IDS).logits, rtol=1e-5, atol=1e-5)


def refused(path: Path, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_what_it_cannot_do_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build("OPTForCausalLM", tmp_path)
    model = load_model(tmp_path)
    with pytest.raises(UserError, match="a sequence of 65 tokens is longer than the model's 64"):
        model(torch.ones(1, 65, dtype=torch.long))
    with pytest.raises(
        UserError, match=r"the blocks of a opt model are not known here.*Train all of its weights, or LoRA"
    ):
        _ = model.blocks
    values = json.loads((tmp_path / "config.json").read_text())

    def changed(**other: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps(values | other))

    changed(model_type="nonsense")
    refused(tmp_path, r"model type 'nonsense' is not supported.*Native families: llama, mistral")
    changed(model_type="t5")
    refused(tmp_path, "a t5 model writes one sequence from another")
    changed(model_type="vit")
    refused(tmp_path, "a vit model is no language model")
    changed(hidden_size=48)
    refused(tmp_path, "transformers cannot read it")
    changed()
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra, match="reading a model of type opt needs transformers, which is not installed"):
        load_model(tmp_path)


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    build("OPTForCausalLM", tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / "pytorch_model.bin")
    refused(tmp_path, r"pytorch_model\.bin: is a pickle, which is never read")


def test_damage_is_named(tmp_path: Path) -> None:
    draft = artifact.begin(tmp_path / "m", "make", Make())
    build("OPTForCausalLM", tmp_path / "m")
    draft.finish()
    file = tmp_path / "m" / WEIGHTS
    data = bytearray(file.read_bytes())
    data[-5] ^= 4
    file.write_bytes(data)
    refused(tmp_path / "m", r"model\.safetensors: differs from what its manifest says")
    build("OPTForCausalLM", tmp_path / "n")
    (tmp_path / "n" / WEIGHTS).write_bytes(data[:100])
    refused(tmp_path / "n", "transformers cannot read it")
    (tmp_path / "n" / WEIGHTS).unlink()
    refused(tmp_path / "n", r"model\.safetensors: no such file")


def test_its_sizes() -> None:
    config = ForeignConfig(vocab_size=10, width=4, heads=2, kv_heads=2, head_width=2, tied=False, count=100)
    assert config.parameters() == 100
    assert config.matrix_parameters() == 60
