"""A prefix and virtual tokens: what a text would have done in their place, in packed rows, a token at a time, recomputed."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import Tiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.base.errors import UserError
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.model import attention, compiling
from danlu.model.adapters import kinds
from danlu.model.adapters.files import CONFIG, WEIGHTS, attach, save_adapter
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.method_settings import Other, Prefix, Prompt, Ptuning
from danlu.model.adapters.virtual import widened
from danlu.model.cache import Cache
from danlu.model.hub import load_model, save_model
from danlu.model.kinds import Experts, StateSpace
from danlu.model.moe import Ledger
from danlu.model.transformer import Transformer

WORDS = [7, 3, 44, 21, 9]
TEXT: list[Other] = [Prefix(tokens=5, init="text", text="x"), Prompt(tokens=5, init="text", text="x")]
LEARNED: list[Other] = [Prefix(tokens=3), Prompt(tokens=3), Ptuning(tokens=3, encoder="lstm")]
IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
SHAPES: list[dict[str, Any]] = [
    {},
    {"kv_heads": 1, "head_width": 6},
    {"positions": "learned", "norm": "layernorm"},
    {"positions": "alibi"},
    {"positions": "sinusoidal", "tied": False},
    {"window": 6},
    {"attention_cap": 5.0, "window": 6, "global_every": 2, "embedding_multiplier": 2.0},
    {"causal": False},
]
experts = {"experts": Experts(count=4, per_token=2, width=16)}
hybrid = {"state_space": StateSpace(state=8, head_width=16, chunk=4, attention_every=2), "layers": 2}


def name(value: Any) -> str:
    return type(value).__name__.lower() if not isinstance(value, dict) else ",".join(value) or "llama"


def with_adapter(tiny: Tiny, settings: Other, spread: float = 0.3, **shape: Any) -> Transformer:
    """Nothing of what learns at its first value."""
    model = tiny(**shape)
    attach(model, settings, Path("base"), 0, WORDS)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=spread)
    return model


def packed(lengths: list[list[int]], width: int) -> tuple[Tensor, Tensor]:
    """Rows of documents of these lengths."""
    draw = torch.Generator().manual_seed(5)
    ids, segments = torch.zeros(len(lengths), width, dtype=torch.long), torch.full((len(lengths), width), -1)
    for row, sizes in enumerate(lengths):
        at = 0
        for number, size in enumerate(sizes):
            ids[row, at : at + size] = torch.randint(1, 61, (size,), generator=draw)
            segments[row, at : at + size] = number
            at += size
    return ids, segments


@pytest.mark.parametrize("shape", [s for s in SHAPES if "causal" not in s], ids=name)
@pytest.mark.parametrize("settings", TEXT, ids=name)
def test_what_begins_as_a_text_does_what_the_text_does(tiny: Tiny, settings: Other, shape: dict[str, Any]) -> None:
    """At its positions, too."""
    model = with_adapter(tiny, settings, 0.0, **shape)
    wanted = tiny(**shape)(torch.cat((torch.tensor(WORDS).expand(2, -1), IDS), dim=1))[:, len(WORDS) :]
    torch.testing.assert_close(model(IDS), wanted, rtol=0, atol=2e-5)
    with torch.no_grad():  # another attention
        torch.testing.assert_close(model(IDS), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", [*SHAPES, experts], ids=name)
@pytest.mark.parametrize("settings", LEARNED, ids=name)
def test_every_document_of_a_packed_row_has_its_own(tiny: Tiny, settings: Other, shape: dict[str, Any]) -> None:
    if isinstance(settings, Prefix) and not shape.get("causal", True):
        settings = Prefix(tokens=3, init="random")
    model = with_adapter(tiny, settings, **shape)
    ids, segments = packed([[7, 3, 11], [20], [1, 1, 2]], 24)
    together = model(ids, segments)
    assert together.shape == (3, 24, 61)
    for row in range(3):
        for document in range(int(segments[row].max()) + 1):
            part = segments[row] == document
            alone = model(ids[row, part][None])[0]
            torch.testing.assert_close(together[row, part], alone, rtol=0, atol=3e-5)


@pytest.mark.parametrize("window", [0, 5])
def test_a_prefix_is_seen_from_every_block_of_queries(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    """Also by a document that stands far from it in the row."""
    model = with_adapter(tiny, Prefix(tokens=3), window=window)
    ids, segments = packed([[7, 3, 11], [20], [1, 1, 2]], 24)
    wanted = model(ids, segments)
    monkeypatch.setattr(attention, "BLOCK", 4)
    torch.testing.assert_close(model(ids, segments), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("settings", LEARNED, ids=name)
def test_gradients_of_a_packed_row_are_those_of_its_documents(tiny: Tiny, settings: Other) -> None:
    model = with_adapter(tiny, settings, window=6)
    ids, segments = packed([[7, 3, 11]], 21)
    learning = [p for p in model.parameters() if p.requires_grad]
    together = torch.autograd.grad(model(ids, segments).square().sum(), learning)
    alone = sum(model(ids[segments == n][None]).square().sum() for n in range(3))
    for one, other in zip(together, torch.autograd.grad(alone, learning), strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(
    "shape", [{}, {"positions": "learned"}, {"positions": "alibi"}, {"window": 6}, hybrid], ids=name
)
@pytest.mark.parametrize("settings", LEARNED, ids=name)
@torch.no_grad()
def test_a_token_at_a_time_is_the_whole(tiny: Tiny, settings: Other, shape: dict[str, Any]) -> None:
    """Prompts of three lengths, padded on the left."""
    if isinstance(settings, Prefix) and "state_space" in shape:
        with pytest.raises(
            UserError, match=r"no keys and values that a prefix could stand before. Use --method prompt"
        ):
            with_adapter(tiny, settings, **shape)
        return
    model = with_adapter(tiny, settings, **shape)
    whole = [
        row[:n]
        for row, n in zip(torch.randint(1, 61, (3, 13), generator=torch.Generator().manual_seed(2)), (13, 9, 11))
    ]
    longest = 7
    ids, segments = torch.zeros(3, longest, dtype=torch.long), torch.full((3, longest), -1)
    for row, text in enumerate(whole):
        size = len(text) - 6
        ids[row, longest - size :], segments[row, longest - size :] = text[:size], 0
    cache = Cache(model.config, 3, longest + 6, torch.float32)
    parts = [model(ids, segments, cache)[:, -1:]]
    parts += [model(torch.stack([text[len(text) - 6 + i][None] for text in whole]), None, cache) for i in range(6)]
    for row, text in enumerate(whole):
        wanted = model(text[None])[0, -7:]
        torch.testing.assert_close(torch.cat(parts, dim=1)[row], wanted, rtol=0, atol=3e-5)


@pytest.mark.parametrize("settings", LEARNED, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_engine_answers_with_it(tiny: Tiny, settings: Other, dtype: torch.dtype) -> None:
    """The likeliest tokens are those that the whole forward finds; in bf16 it runs, and the model is left alone."""
    model = with_adapter(tiny, settings)
    before = copy.deepcopy(model.state_dict())
    prompts = [IDS[0, :5].tolist(), IDS[1].tolist()]
    answers = Engine(model, (), dtype=dtype).generate(prompts, Sampling(max_new_tokens=4, temperature=0.0))
    assert [len(answer.ids) for answer in answers] == [4, 4]
    if dtype == torch.float32:
        for prompt, answer in zip(prompts, answers, strict=True):
            said = model(torch.tensor([prompt + answer.ids]))[0, len(prompt) - 1 : -1].argmax(-1)
            assert said.tolist() == answer.ids
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["full", "selective"])
@pytest.mark.parametrize("settings", LEARNED, ids=name)
def test_recomputed_blocks_give_the_same_gradients(tiny: Tiny, settings: Other, kind: str) -> None:
    """peft refuses a prefix then."""
    found = []
    for checkpointing in ("none", kind):
        model = with_adapter(tiny, settings)
        model.checkpointing = checkpointing
        model(*packed([[7, 3], [8]], 12)).square().sum().backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("settings", LEARNED[:2], ids=name)
def test_compiled_blocks_take_it(tiny: Tiny, settings: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    model = with_adapter(tiny, settings)
    batch = packed([[7, 3], [8]], 12)
    wanted, real = model(*batch), batch[1] >= 0
    model.compile_blocks()
    found = model(*batch)
    torch.testing.assert_close(found[real], wanted[real], rtol=0, atol=2e-5)
    found.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_where_the_virtual_tokens_go() -> None:
    ids, segments = (
        torch.tensor([[5, 6, 7, 8, 9], [1, 2, 0, 0, 0]]),
        torch.tensor([[0, 0, 1, 2, 2], [0, 0, -1, -1, -1]]),
    )
    found = widened(ids, segments, torch.tensor([60, 61]))
    assert found.ids.tolist() == [[60, 61, 5, 6, 60, 61, 7, 60, 61, 8, 9], [60, 61, 1, 2, 0, 0, 0, 0, 0, 0, 0]]
    assert found.segments.tolist() == [[0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2], [0, 0, 0, 0, *[-1] * 7]]
    assert found.place.tolist() == [[2, 3, 6, 9, 10], [2, 3, 4, 5, 6]]


@pytest.mark.parametrize("segmented", [True, False])
def test_routers_do_not_count_virtual_tokens(tiny: Tiny, segmented: bool) -> None:
    model = with_adapter(tiny, Prompt(tokens=3), **experts)
    ids, segments = packed([[7, 3], [8, 2]], 10)
    weights = (segments >= 0).float()
    ledger = Ledger(weights)
    model.hidden(ids, segments if segmented else None, ledger=ledger)
    assert len(ledger.loads) == 2
    assert float(ledger.total) == float(ledger.weights.sum()) == 20
    assert ledger.weights.shape == (2 * (10 + 3 * (2 if segmented else 1)),)


@pytest.mark.parametrize("settings", LEARNED, ids=name)
def test_only_it_learns_and_taken_off_all_is_as_it_was(tiny: Tiny, settings: Other) -> None:
    plain, model = tiny(), with_adapter(tiny, settings)
    model(IDS).square().sum().backward()
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {n for n, p in model.named_parameters() if p.grad is not None}
    assert all(n.startswith(("prefix.", "embed.maker.")) for n in learning)
    kinds.remove(model)
    assert type(model) is Transformer
    assert model.config == plain.config
    with torch.no_grad():
        assert torch.equal(model(IDS), plain(IDS))
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in plain.named_parameters()]


@pytest.mark.parametrize("settings", LEARNED, ids=name)
def test_a_copy_is_its_own(tiny: Tiny, settings: Other) -> None:
    """A reference of DPO is one."""
    model = with_adapter(tiny, settings)
    other = copy.deepcopy(model)
    wanted = model(IDS)
    assert torch.equal(other(IDS), wanted)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.zero_()
    assert torch.equal(other(IDS), wanted)
    assert not torch.equal(model(IDS), wanted)


@pytest.mark.parametrize("settings", LEARNED, ids=name)
def test_positions_are_taken_from_the_model(tiny: Tiny, settings: Other) -> None:
    model = with_adapter(tiny, settings)
    assert model.config.max_length == 61
    longest = torch.arange(61).unsqueeze(0) % 60
    assert model(longest).shape == (1, 61, 61)
    with pytest.raises(UserError, match="a sequence of 62 tokens is longer than the model's 61"):
        model(torch.zeros(1, 62, dtype=torch.long))
    cache = Cache(model.config, 1, 62, torch.float32)
    with torch.no_grad():
        model(longest, None, cache)
        with pytest.raises(UserError, match="65 tokens are longer than the 64"):
            model(longest[:, :1], None, cache)


@pytest.mark.parametrize("settings", [Prefix(tokens=63), Prompt(tokens=64), Ptuning(tokens=70)], ids=name)
def test_too_many_are_refused(tiny: Tiny, settings: Other) -> None:
    with pytest.raises(UserError, match=r"virtual tokens leave no room in a model of 64. Use fewer"):
        attach(tiny(), settings, Path("base"), 0)


def test_a_model_with_value_embeddings_takes_no_virtual_tokens(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"which virtual tokens have not. Use --method prefix"):
        attach(tiny(value_embeddings=1), Prompt(tokens=3), Path("base"), 0)
    model = with_adapter(tiny, Prefix(tokens=3), value_embeddings=1)
    assert model(IDS).shape == (2, 9, 61)


def test_first_values_come_from_the_seed_and_the_start(tiny: Tiny) -> None:
    def first(settings: Other, seed: int = 0, **shape: Any) -> Tensor:
        model = tiny(**shape)
        attach(model, settings, Path("base"), seed, WORDS if getattr(settings, "text", "") else ())
        return next(p for p in model.parameters() if p.requires_grad).detach()

    for settings in (*LEARNED, Prefix(init="random"), Prompt(init="random"), Prefix(projection=True)):
        torch.rand(3)  # what else was drawn does not matter
        assert torch.equal(first(settings), first(settings))
        assert not torch.equal(first(settings), first(settings, seed=1))
    table = tiny().embed.weight
    assert torch.equal(first(Prompt(tokens=7, init="text", text="x")), table[[*WORDS, *WORDS[:2]]])
    assert torch.equal(first(Prompt(tokens=2, init="text", text="x"), embedding_multiplier=3.0), 3 * table[WORDS[:2]])
    found = first(Prompt(tokens=4))
    assert all(bool((table == row).all(dim=1).any()) for row in found)
    assert float(first(Prompt(tokens=50, init="random")).std()) == pytest.approx(float(table.detach().std()), rel=0.1)


Change = Callable[[dict[str, Any], dict[str, Tensor]], Any]
FAULTS: dict[str, tuple[Change, str]] = {
    "no count": (lambda c, t: c.pop("num_virtual_tokens"), "needs a number 'num_virtual_tokens', found None"),
    "another count": (
        lambda c, t: c.update(num_virtual_tokens=4),
        "must hold one tensor, prompt_embeddings, of 4 rows",
    ),
    "no tensor": (lambda c, t: t.clear(), "must hold one tensor, prompt_embeddings, of 3 rows"),
    "two": (lambda c, t: t.update(more=torch.ones(2)), "must hold one tensor"),
    "a translator": (lambda c, t: c.update(num_transformer_submodules=2), "writes one sequence from another"),
    "too narrow": (
        lambda c, t: t.update(prompt_embeddings=torch.ones(3, 31)),
        "was made for another base: its .* 31 numb",
    ),
}


@pytest.mark.parametrize("settings", LEARNED, ids=name)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_understood_is_refused(tiny: Tiny, tmp_path: Path, fault: str, settings: Other) -> None:
    save_model(tiny(), tmp_path / "base", {})
    model = tiny()
    save_adapter(model, attach(model, settings, tmp_path / "base", 0), tmp_path)
    config, tensors = json.loads((tmp_path / CONFIG).read_text()), load_file(tmp_path / WEIGHTS)
    change, said = FAULTS[fault]
    change(config, tensors)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match=said):
        open_adapter(tmp_path)


@pytest.mark.parametrize("settings", LEARNED, ids=name)
def test_a_model_of_transformers_takes_none(tmp_path: Path, settings: Other) -> None:
    shape = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48}
    config = transformers.OPTConfig(**shape, max_position_embeddings=64, word_embed_proj_dim=32)
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match=r"a opt model is not native, and takes no virtual tokens here. Use a native fam"
    ):
        attach(load_model(tmp_path), settings, tmp_path, 0)
