"""Overrides of the shape that a size derives, one for each switch of `ModelConfig`; a test keeps the two in step.

They are written out, and not made from `ModelConfig`, so that a reader, a type checker and ``--help`` see them.
"""

import dataclasses
from dataclasses import dataclass

from danlu.model.config import Activation, ModelConfig, Norm, Place, Position, Scaling
from danlu.model.kinds import Experts, StateSpace


@dataclass(frozen=True)
class Shape:
    """Overrides of what the size derives; unset values follow from it."""

    layers: int | None = None
    """Transformer blocks."""
    width: int | None = None
    """Size of the residual stream."""
    heads: int | None = None
    """Query heads."""
    kv_heads: int | None = None
    """Key and value heads; must divide `heads`."""
    head_width: int | None = None
    """Size of one head."""
    feedforward: int | None = None
    """Hidden size of the feed-forward layer."""
    activation: Activation | None = None
    """swiglu and geglu are gated, gelu is the tanh form, gelu_exact the one with erf, relu2 the square of ReLU."""
    norm: Norm | None = None
    """rmsnorm or layernorm."""
    norm_place: Place | None = None
    """pre: before each layer and at the end; post: after each sum; sandwich: before and after each layer."""
    norm_epsilon: float | None = None
    """Added under the square root of the norm."""
    norm_plus_one: bool | None = None
    """RMSNorm's weights are added to 1, so they begin at 0 (Gemma)."""
    norm_weight: bool | None = None
    """Norms have weights, those of queries and keys included."""
    norm_bias: bool | None = None
    """LayerNorm has biases."""
    embedding_norm: bool | None = None
    """A norm right after the embedding."""
    token_types: int | None = None
    """Rows of BERT's table of kinds of token, of which the first is added to every embedding; 0 is no table."""
    parallel: bool | None = None
    """Attention and feed-forward read the same stream and are added together."""
    positions: Position | None = None
    """rope, alibi, learned, sinusoidal or none."""
    rope_theta: float | None = None
    """Base of RoPE's frequencies."""
    rope_share: float | None = None
    """The share of each head that RoPE turns."""
    rope_local_theta: float | None = None
    """RoPE's base in the layers with a window, unscaled; 0 is the same as elsewhere."""
    rope_skip: int | None = None
    """Every so many layers one without RoPE; 0 is none."""
    rope_scaling: Scaling | None = None
    """How RoPE reaches beyond the length it learned: linear, ntk, yarn or llama3."""
    rope_factor: float | None = None
    """How many times as far."""
    rope_original: int | None = None
    """The length it learned, for ntk, yarn and llama3; 0 is max_length divided by the factor."""
    rope_low: float | None = None
    """llama3 and yarn: a frequency of fewer turns over that length is scaled in full; 0 is 1, as published."""
    rope_high: float | None = None
    """llama3 and yarn: one of more turns stays as it is; 0 is 4 for llama3 and 32 for yarn, as published."""
    position_offset: int | None = None
    """The row of the first position among learned ones (RoBERTa's is its padding's id and one)."""
    causal: bool | None = None
    """Tokens see earlier ones only; False is an encoder."""
    window: int | None = None
    """A token sees so many tokens, itself included; 0 is all."""
    global_every: int | None = None
    """With a window: every so many layers one without; 0 is none."""
    qk_norm: bool | None = None
    """RMSNorm over each head's queries and keys."""
    attention_scale: float | None = None
    """Scores are multiplied by it; 0 is 1/√head_width."""
    attention_cap: float | None = None
    """Scores are capped at plus and minus so much by tanh; 0 caps nothing."""
    tied: bool | None = None
    """Share the embedding with the output layer."""
    bias: bool | None = None
    """Biases in every linear layer of the blocks."""
    qkv_bias: bool | None = None
    """Biases of queries, keys and values, where `bias` is off."""
    embedding_multiplier: float | None = None
    """Embeddings are multiplied by it."""
    head_transform: bool | None = None
    """Before the output layer a linear layer, the activation and a norm (BERT's masked-language head)."""
    head_bias: bool | None = None
    """A bias in the output layer."""
    logit_scale: float | None = None
    """Logits are multiplied by it."""
    logit_cap: float | None = None
    """Logits are capped at plus and minus so much by tanh; 0 caps nothing."""
    value_embeddings: bool | None = None
    """In every second layer a second embedding of the token is added to its values."""
    residual_scalars: bool | None = None
    """Each block reads a learned mixture of the stream and of the embedding that it began as."""
    dropout: float | None = None
    """Share of the embedding's and of each layer's output that is dropped in training."""
    experts: Experts | None = None
    """Mixtures of experts instead of feed-forward layers."""
    state_space: StateSpace | None = None
    """Mamba-2 layers instead of attention, or between layers of it."""

    def apply(self, config: ModelConfig) -> ModelConfig:
        """``config`` with the values that are set; unset heads follow the width."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        given = {name: value for name, value in values.items() if value is not None}
        if "width" in given and "heads" not in given:
            given["heads"] = max(given["width"] // given.get("head_width", config.head_width), 1)
        if "heads" in given and "kv_heads" not in given:
            given["kv_heads"] = given["heads"]
        if "width" in given and "feedforward" not in given:
            given["feedforward"] = -(-8 * given["width"] // 3 // 64) * 64
        return dataclasses.replace(config, **given)
