"""Every native family against its class in transformers: logits, gradients, generation, and files both ways.

Models are tiny and random, and nothing in them is left at its first value. Ids keep clear of padding's, whose
gradient transformers sets to zero.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from family_cases import CASES, IDS, TOKENS, Case, class_of
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.base.errors import UserError
from danlu.base.seed import derive
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.model import attention, families
from danlu.model.hub import WEIGHTS, load_model, save_model
from danlu.model.transformer import Transformer


@pytest.fixture(scope="module", params=CASES)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Case, Any, Transformer, Path]:
    """A class's random model, ours of its files, and where these lie."""
    case, path = CASES[request.param], tmp_path_factory.mktemp(request.param)
    config = getattr(transformers, f"{case.kind}Config")(**case.values)
    network = class_of(case.kind)._from_config(config, attn_implementation="eager").eval()  # only this caps scores
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            draw = torch.Generator().manual_seed(derive(0, name))
            spread = 0.3 if parameter.dim() < 2 or "embed" in name or ".wte" in name else parameter.shape[1] ** -0.5
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=spread)
    network.save_pretrained(path)
    return case, network, load_model(path).eval(), path


def test_logits_and_gradients_of_every_parameter(
    pair: tuple[Case, Any, Transformer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BLOCK", 4)  # short sequences then cross the borders that long ones cross
    _, theirs, ours, _ = pair
    out = torch.randn(*IDS.shape, 61, generator=torch.Generator().manual_seed(1))
    found, expected = ours(IDS), theirs(input_ids=IDS).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    ours.zero_grad()
    theirs.zero_grad()
    (found * out).sum().backward()
    (expected * out).sum().backward()
    mine = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in ours.named_parameters()}
    family = families.reading(theirs.config.model_type)
    assert family is not None
    gradients = family.save(mine, ours.config)
    wanted = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    named = {name.replace("lm_head.weight", "embed_out.weight") if "gpt_neox" in str(list(wanted)) else name: grad
             for name, grad in wanted.items()}  # fmt: skip
    assert gradients.keys() == named.keys()
    for name, grad in named.items():
        assert grad is not None
        # The softmax is blind to the keys' biases, whose gradient is rounding in both.
        # Of the keys' bias softmax sees nothing: its gradient is rounding alone, and so is the second summand.
        assert (gradients[name] - grad).norm() <= 2e-5 * grad.norm() + 3e-5, name
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), expected, rtol=1e-4, atol=1e-4)  # another way through attention


def test_generation_is_transformers_own(pair: tuple[Case, Any, Transformer, Path]) -> None:
    _, theirs, ours, _ = pair
    prompts = [IDS[0, :9].tolist(), IDS[1, :4].tolist()]
    if not ours.config.causal:
        with pytest.raises(UserError, match="an encoder sees all tokens at once and generates none"):
            Engine(ours, ()).generate(prompts, Sampling(max_new_tokens=8))
        return
    answers = Engine(ours, ()).generate(prompts, Sampling(max_new_tokens=8, temperature=0.0))
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        said = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8, min_new_tokens=8,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
        assert answer.ids == said[0, len(prompt) :].tolist()
        with torch.no_grad():
            first = torch.log_softmax(theirs(input_ids=ids).logits[0, -1], dim=-1).max()
        assert answer.logprobs[0] == pytest.approx(float(first), abs=1e-4)


def test_files_go_both_ways(pair: tuple[Case, Any, Transformer, Path], tmp_path: Path) -> None:
    case, theirs, ours, path = pair
    tokens = {key: case.values[key] for key in TOKENS}
    save_model(ours, tmp_path, tokens)
    opened, said = class_of(case.written).from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert opened.config.architectures == [type(opened).__name__]
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == opened.config.model_type
    with torch.no_grad():
        torch.testing.assert_close(
            opened.eval()(input_ids=IDS).logits, theirs(input_ids=IDS).logits, rtol=1e-4, atol=1e-4
        )
    again = load_model(tmp_path)
    assert again.config == ours.config
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), ours.parameters(), strict=True))
    if case.written == class_of(case.kind).__name__.removesuffix("ForCausalLM"):
        before, after = load_file(path / WEIGHTS), load_file(tmp_path / WEIGHTS)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert ours.config.parameters() == sum(p.numel() for p in ours.parameters())


def test_files_without_the_prefix_with_buffers_and_a_second_head(
    pair: tuple[Case, Any, Transformer, Path], tmp_path: Path
) -> None:
    """As the first GPT-2 and BERT were published, and as others save them."""
    _, theirs, ours, path = pair
    (tmp_path / "config.json").write_text((path / "config.json").read_text())
    prefix = theirs.base_model_prefix + "."
    tensors = {name.removeprefix(prefix): value for name, value in load_file(path / WEIGHTS).items()}
    tensors |= {"h.0.attn.bias": torch.ones(1, 1, 4, 4), "layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3)}
    tensors["embeddings.position_ids"] = torch.arange(4)
    if ours.config.tied:
        tensors[families.theirs(families.reading(theirs.config.model_type).NAMES, "head.weight")] = (  # type: ignore[union-attr]
            ours.embed.weight.detach().clone()
        )
    save_file(tensors, tmp_path / WEIGHTS)
    again = load_model(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), ours.parameters(), strict=True))


def test_what_has_no_place_or_is_missing_is_named(pair: tuple[Case, Any, Transformer, Path], tmp_path: Path) -> None:
    *_, path = pair
    (tmp_path / "config.json").write_text((path / "config.json").read_text())
    tensors = load_file(path / WEIGHTS)
    name = next(name for name in sorted(tensors) if "0" in name and name.endswith("weight"))

    def refused(problem: str, change: Callable[[dict[str, Tensor]], None]) -> None:
        changed = {key: value.clone() for key, value in tensors.items()}
        change(changed)
        save_file(changed, tmp_path / WEIGHTS)
        with pytest.raises(UserError) as caught:
            load_model(tmp_path)
        assert problem in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(f"tensor {name} is missing", lambda found: found.__delitem__(name))
    refused(
        "tensor quite.another has no place in the model", lambda found: found.update({"quite.another": torch.ones(2)})
    )
