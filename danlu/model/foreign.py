"""Any model of transformers, causal or masked, behind the interface of `Transformer`: slower, and never wrong.

For families that are not native. Documents of a packed row are read apart, each from position 0, in a few padded
batches: a four-dimensional mask would keep them in one row, but ALiBi, windows, chunks and state spaces read such a
mask each in its own way, or not at all. A cache keeps ids alone, so generation reads all again for each new token.
Half precision is autocast, since the layers are not ours. No remote code, no pickle.

What the output layer reads is taken at its door: its input is kept, and nothing of it let in, so no logits are made.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.base.errors import MissingExtra, UserError
from danlu.base.files import write_text
from danlu.base.progress import say
from danlu.model.cache import Cache
from danlu.model.config import ModelConfig
from danlu.model.moe import Ledger
from danlu.model.transformer import Transformer

CLOSE = 1e-3  # of the largest logit: float32 rounding is below 1e-5, a head of another kind far above
LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
LENGTH = 2048  # where nothing is said


@dataclass(frozen=True)
class ForeignConfig(ModelConfig):
    """The sizes. Switches say nothing about a foreign model, but for those of its logits."""

    model_type: str = ""
    """transformers' name of the family."""
    count: int = 0
    """Parameters."""

    def parameters(self) -> int:
        """All weights."""
        return self.count

    def matrix_parameters(self) -> int:
        """About the weights that multiply every token."""
        return self.count - (0 if self.tied else self.vocab_size * self.width)


class Foreign(Transformer):
    """A network of transformers."""

    def __init__(self, network: Any, config: ForeignConfig) -> None:
        nn.Module.__init__(self)
        self.network, self.config = network, config
        self.compute_dtype, self._checkpointing = torch.float32, False
        self.reads = set(_arguments(network))

    config: ForeignConfig

    @property
    def embed(self) -> Any:  # type: ignore[override]
        """The embedding."""
        return self.network.get_input_embeddings()

    @property
    def head(self) -> Any:  # type: ignore[override]
        """The output layer."""
        return self.network.get_output_embeddings()

    @property
    def output_weight(self) -> Tensor:
        """The output layer's matrix, [V, D]."""
        return self.head.weight

    @property
    def output_bias(self) -> Tensor | None:
        """Its bias, [V]."""
        return getattr(self.head, "bias", None)

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """Unknown: what stands between them, and growing, needs to know every block."""
        what = f"the blocks of a {self.config.model_type} model are not known here"
        raise UserError(what, remedy="Train all of its weights, or LoRA, or use a native family")

    def compile_blocks(self) -> None:
        """Refused: nothing is known of the blocks."""
        what = f"the blocks of a {self.config.model_type} model are not known here"
        raise UserError(what, where="recipe: compile", remedy="Leave it out, or use a native family")

    @property
    def checkpointing(self) -> bool | str:
        """Are blocks computed again in the backward pass?"""
        return self._checkpointing

    @checkpointing.setter
    def checkpointing(self, kind: bool | str) -> None:
        if kind == "selective":
            what = f"of a {self.config.model_type} model only whole blocks can be computed again"
            raise UserError(what, where="recipe: checkpointing", remedy="Use full")
        wanted = kind not in (False, "none")
        if wanted and not self.network.supports_gradient_checkpointing:
            raise UserError(f"a {self.config.model_type} model cannot do without what its blocks kept",
                            where="recipe: checkpointing", remedy="Leave it off")  # fmt: skip
        if wanted != self._checkpointing:
            turn = "enable" if wanted else "disable"
            new = getattr(self.network, f"activation_checkpointing_{turn}", None)  # since transformers 5.23
            how = ({"use_reentrant": False},) if wanted else ()
            (new or getattr(self.network, f"gradient_checkpointing_{turn}"))(*how)
        self._checkpointing = wanted

    def features(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        cache: Cache | None = None,
        ledger: Ledger | None = None,
    ) -> Tensor:
        """What another head than the output layer would read."""
        return self._all(ids, segments, cache, heads=False)

    def hidden(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        cache: Cache | None = None,
        ledger: Ledger | None = None,
    ) -> Tensor:
        """What the output layer reads, as `Transformer.hidden` says. Of padding, zeros. Routers write in no ledger."""
        return self._all(ids, segments, cache, heads=True)

    def _all(self, ids: Tensor, segments: Tensor | None, cache: Cache | None, *, heads: bool) -> Tensor:
        if cache is not None and not self.config.causal:
            raise UserError("an encoder sees all tokens at once and generates none", remedy="Use a causal model")
        if cache is not None:
            new = ids.shape[1]
            cache.open(torch.ones_like(ids, dtype=torch.bool) if segments is None else segments >= 0)
            cache.ids[:, cache.length - new : cache.length] = ids
            whole, valid = cache.ids[:, : cache.length], cache.valid[:, : cache.length]
            return self._apart(whole, valid.long() - 1, heads)[:, -new:]
        if ids.shape[1] > self.config.max_length:
            raise UserError(
                f"a sequence of {ids.shape[1]} tokens is longer than the model's {self.config.max_length}",
                remedy="Cut the text, or train with a larger max_length",
            )
        return self._read(ids, None, heads) if segments is None else self._apart(ids, segments, heads)

    def _apart(self, ids: Tensor, segments: Tensor, heads: bool) -> Tensor:
        """Every document in a row of its own, in batches of documents of similar length. [B, T] -> [B, T, D]."""
        begins = torch.ones_like(segments, dtype=torch.bool)
        begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
        starts = begins.flatten().nonzero().squeeze(1)  # [N]
        lengths = torch.diff(starts, append=starts.new_tensor([ids.numel()]))
        real = segments.flatten()[starts] >= 0
        starts, lengths = starts[real], lengths[real]
        classes = lengths.float().log2().floor()  # no row is half padding
        found, places = [], []
        for kind in classes.unique():
            first, size = starts[classes == kind], lengths[classes == kind]
            column = torch.arange(int(size.max()), device=ids.device)
            mask = column < size[:, None]  # [N, L]
            place = torch.where(mask, first[:, None] + column, first[:, None])
            found.append(self._read(ids.flatten()[place], mask, heads)[mask])
            places.append(place[mask])
        out = torch.zeros(ids.numel(), found[0].shape[-1], dtype=found[0].dtype, device=ids.device)
        return out.index_copy(0, torch.cat(places), torch.cat(found)).unflatten(0, ids.shape)

    def _read(self, ids: Tensor, mask: Tensor | None, heads: bool) -> Tensor:
        """Rows of one document each, padded on the right. [N, L] -> [N, L, D]. What comes later hides nothing."""
        inputs: dict[str, Any] = {"input_ids": ids}
        if mask is not None and not self.config.causal:
            inputs["attention_mask"] = mask.long()
        if "use_cache" in self.reads:
            inputs["use_cache"] = False
        with self._precision(ids.device.type):
            if not heads:
                return self.network.base_model(**inputs)[0].to(self.compute_dtype)
            kept: list[Tensor] = []

            def keep(_: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
                kept.append(given[0])
                return (given[0][..., :0, :],)

            hook = self.head.register_forward_pre_hook(keep)
            try:
                self.network(**inputs)
            finally:
                hook.remove()
        return kept[0].to(self.compute_dtype)

    def _precision(self, device: str) -> AbstractContextManager[Any]:
        if self.embed.weight.dtype == self.compute_dtype:
            return nullcontext()
        return torch.autocast(device, dtype=self.compute_dtype)


def foreign_config(path: Path, kind: str) -> ForeignConfig:
    """What the house needs to know of a model that is not native."""
    shape, network = _open(path, kind), _class(path, kind)
    text = shape.get_text_config()
    with torch.device("meta"):
        count = sum(p.numel() for p in network.from_config(shape).parameters())
    width, heads = text.hidden_size, getattr(text, "num_attention_heads", None) or 1
    length = next((found for key in LENGTHS if (found := getattr(text, key, None))), LENGTH)
    scaling = getattr(text, "logits_scaling", None)
    return ForeignConfig(
        vocab_size=text.vocab_size,
        layers=text.num_hidden_layers,
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=getattr(text, "head_dim", None) or max(width // heads, 1),
        feedforward=next((v for k in ("intermediate_size", "ffn_dim") if (v := getattr(text, k, None))), 4 * width),
        positions="none",
        max_length=length,
        tied=bool(getattr(shape, "tie_word_embeddings", False)),
        causal=network.__name__ == "AutoModelForCausalLM",
        logit_scale=float(getattr(text, "logit_scale", None) or (1 / scaling if scaling else 1)),
        logit_cap=float(getattr(text, "final_logit_softcapping", None) or 0),
        model_type=kind,
        count=count,
    )


def load_foreign(path: Path, config: ModelConfig) -> Foreign:
    """Read the directory by transformers; said once, since much is slower than it would be in a native family."""
    from safetensors import SafetensorError

    from danlu.model.hub import check_hash, weight_files

    assert isinstance(config, ForeignConfig)
    for file in weight_files(path):
        check_hash(path, file)
    try:
        network = _class(path, config.model_type).from_pretrained(path, use_safetensors=True).float()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        what = f"transformers cannot read it ({' '.join(str(error).split())[:200]})"
        raise UserError(what, where=path) from None
    model = Foreign(network, config)
    if model.head is None or not hasattr(model.head, "weight"):
        raise UserError(f"a {config.model_type} model has no output layer that is a matrix", where=path)
    _check_logits(model, path)
    say(f"  {path}: {config.model_type} is not a native family; it runs through transformers, without a cache")
    return model


@torch.no_grad()
def _check_logits(model: Foreign, path: Path) -> None:
    """Everything here takes logits for the hidden state times the output layer, so that must be true."""
    ids = torch.arange(min(8, model.config.vocab_size)).unsqueeze(0)
    model.network.eval()
    expected, found = model.network(input_ids=ids).logits.float(), model(ids)
    if found.shape != expected.shape or not (found - expected).abs().max() <= CLOSE * expected.abs().max():
        what = f"a {model.config.model_type} model does more to its logits than an output layer, which is not supported"
        raise UserError(what, where=path)


def save_foreign(model: Foreign, path: Path, tokens: dict[str, Any], stop_ids: tuple[int, ...] = ()) -> None:
    """The same layout as `danlu.model.hub.save_model` writes, by transformers."""
    import json

    network, known = model.network, {key: value for key, value in tokens.items() if value is not None}
    for key, value in known.items():
        setattr(network.config, key, value)
    # Their settings of generation belong to the tokenizer that they had.
    network.save_pretrained(path, max_shard_size="2GB")
    generation = {**tokens, **({"eos_token_id": list(stop_ids)} if stop_ids else {})}
    write_text(path / "generation_config.json", json.dumps(generation, indent=2) + "\n")


def _open(path: Path, kind: str) -> Any:
    try:
        from transformers import AutoConfig
    except ImportError:
        raise MissingExtra("transformers", "hub", f"reading a model of type {kind}") from None
    from danlu.model.families import types

    try:
        shape = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        what = f"model type '{kind}' is not supported, and transformers says: {' '.join(str(error).split())[:160]}"
        raise UserError(what, where=path / "config.json", remedy=f"Native families: {', '.join(types())}") from None
    if shape.is_encoder_decoder:
        what = f"a {kind} model writes one sequence from another, which is not supported"
        raise UserError(what, where=path / "config.json")
    return shape


def _class(path: Path, kind: str) -> Any:
    """Causal or masked: what its configuration says, or what the family can be."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM
    from transformers.models.auto import modeling_auto as known

    written = getattr(_open(path, kind), "architectures", None) or [""]
    causal, masked = known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, known.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if kind in masked and (kind not in causal or written[0].endswith("MaskedLM")):
        return AutoModelForMaskedLM
    if kind in causal:
        return AutoModelForCausalLM
    raise UserError(f"a {kind} model is no language model", where=path / "config.json")


def _arguments(network: Any) -> list[str]:
    import inspect

    return list(inspect.signature(network.forward).parameters)
