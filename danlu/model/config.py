"""The shape of a model and its switches. Reading it starts nothing: no torch here.

Every combination that is not refused runs. Those that a transformers class expresses are saved as that class
(`danlu.model.hub`), the rest as ``model_type: danlu``.
"""

from dataclasses import dataclass
from typing import Literal

from danlu.base.errors import UserError
from danlu.model.kinds import Experts, StateSpace

Activation = Literal["swiglu", "geglu", "gelu", "gelu_exact", "relu2"]
Norm = Literal["rmsnorm", "layernorm"]
Place = Literal["pre", "post", "sandwich"]
Position = Literal["rope", "alibi", "learned", "sinusoidal", "none"]
Scaling = Literal["none", "linear", "ntk", "yarn", "llama3"]

GATED = ("swiglu", "geglu")
ROPE_KEYS = ("rope_theta", "rope_share", "rope_local_theta", "rope_skip", "rope_scaling", "rope_factor")
ATTENTION_KEYS = ("window", "qk_norm", "attention_scale", "attention_cap", "qkv_bias")
SCALING_KEYS = ("rope_factor", "rope_original", "rope_low", "rope_high")


@dataclass(frozen=True)
class ModelConfig:
    """Shape and switches. ``kv_heads`` equal to ``heads`` is MHA, 1 is MQA, between is GQA."""

    vocab_size: int
    """Rows of the embedding."""
    layers: int = 6
    """Transformer blocks."""
    width: int = 384
    """Size of the residual stream."""
    heads: int = 6
    """Query heads."""
    kv_heads: int = 6
    """Key and value heads; must divide `heads`."""
    head_width: int = 64
    """Size of one head."""
    feedforward: int = 1024
    """Hidden size of the feed-forward layer."""
    activation: Activation = "swiglu"
    """swiglu and geglu are gated, gelu is the tanh form, gelu_exact the one with erf, relu2 the square of ReLU."""
    norm: Norm = "rmsnorm"
    """rmsnorm or layernorm."""
    norm_place: Place = "pre"
    """pre: before each layer and at the end; post: after each sum; sandwich: before and after each layer."""
    norm_epsilon: float = 1e-5
    """Added under the square root of the norm."""
    norm_plus_one: bool = False
    """RMSNorm's weights are added to 1, so they begin at 0 (Gemma)."""
    norm_weight: bool = True
    """Norms have weights, those of queries and keys included."""
    norm_bias: bool = True
    """LayerNorm has biases."""
    embedding_norm: bool = False
    """A norm right after the embedding."""
    token_types: int = 0
    """Rows of BERT's table of kinds of token, of which the first is added to every embedding; 0 is no table."""
    parallel: bool = False
    """Attention and feed-forward read the same stream and are added together."""
    positions: Position = "rope"
    """rope, alibi, learned, sinusoidal or none."""
    rope_theta: float = 10_000.0
    """Base of RoPE's frequencies."""
    rope_share: float = 1.0
    """The share of each head that RoPE turns."""
    rope_local_theta: float = 0.0
    """RoPE's base in the layers with a window, unscaled; 0 is the same as elsewhere."""
    rope_skip: int = 0
    """Every so many layers one without RoPE; 0 is none."""
    rope_scaling: Scaling = "none"
    """How RoPE reaches beyond the length it learned: linear, ntk, yarn or llama3."""
    rope_factor: float = 1.0
    """How many times as far."""
    rope_original: int = 0
    """The length it learned, for ntk, yarn and llama3; 0 is max_length divided by the factor."""
    rope_low: float = 0.0
    """llama3 and yarn: a frequency of fewer turns over that length is scaled in full; 0 is 1, as published."""
    rope_high: float = 0.0
    """llama3 and yarn: one of more turns stays as it is; 0 is 4 for llama3 and 32 for yarn, as published."""
    max_length: int = 512
    """Longest sequence, in tokens."""
    position_offset: int = 0
    """The row of the first position among learned ones (RoBERTa's is its padding's id and one)."""
    causal: bool = True
    """Tokens see earlier ones only; False is an encoder."""
    window: int = 0
    """A token sees so many tokens, itself included; 0 is all."""
    global_every: int = 0
    """With a window: every so many layers one without; 0 is none."""
    qk_norm: bool = False
    """RMSNorm over each head's queries and keys."""
    attention_scale: float = 0.0
    """Scores are multiplied by it; 0 is 1/√head_width."""
    attention_cap: float = 0.0
    """Scores are capped at plus and minus so much by tanh; 0 caps nothing."""
    tied: bool = True
    """Share the embedding with the output layer."""
    bias: bool = False
    """Biases in every linear layer of the blocks."""
    qkv_bias: bool = False
    """Biases of queries, keys and values, where `bias` is off."""
    embedding_multiplier: float = 1.0
    """Embeddings are multiplied by it."""
    head_transform: bool = False
    """Before the output layer a linear layer, the activation and a norm (BERT's masked-language head)."""
    head_bias: bool = False
    """A bias in the output layer."""
    logit_scale: float = 1.0
    """Logits are multiplied by it."""
    logit_cap: float = 0.0
    """Logits are capped at plus and minus so much by tanh; 0 caps nothing."""
    value_embeddings: bool = False
    """In every second layer a second embedding of the token is added to its values."""
    residual_scalars: bool = False
    """Each block reads a learned mixture of the stream and of the embedding that it began as."""
    dropout: float = 0.0
    """Share of the embedding's and of each layer's output that is dropped in training."""
    experts: Experts | None = None
    """Mixtures of experts instead of feed-forward layers."""
    state_space: StateSpace | None = None
    """Mamba-2 layers instead of attention, or between layers of it."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "layers", "width", "heads", "kv_heads", "head_width", "feedforward", "max_length"):
            if getattr(self, name) < 1:
                raise UserError(f"model {name} must be at least 1, is {getattr(self, name)}")
        free = ("window", "global_every", "rope_skip", "token_types", "position_offset")
        for name in (*free, "attention_scale", "attention_cap", "logit_cap"):
            if getattr(self, name) < 0:
                raise UserError(f"model {name} must not be negative, is {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise UserError(
                f"kv_heads {self.kv_heads} do not divide heads {self.heads}",
                remedy=f"Choose one of {', '.join(str(n) for n in range(1, self.heads + 1) if self.heads % n == 0)}",
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"model dropout must be at least 0 and below 1, is {self.dropout}")
        self._check_positions()
        self._check_combinations()
        self._check_kinds()

    def _check_positions(self) -> None:
        """Keys of RoPE say nothing about a model without it."""
        if self.positions == "rope":
            if self.rope_width % 2 or self.rope_width < 2 or self.rope_share > 1:
                raise UserError(f"RoPE turns pairs of numbers, so head_width must be even, is {self.rope_width}")
        else:
            for key in (*ROPE_KEYS, *SCALING_KEYS):
                if getattr(self, key) != getattr(ModelConfig, key):
                    raise UserError(
                        f"model {key} is for RoPE, and positions are '{self.positions}'",
                        remedy=f"Leave out {key}, or use positions rope",
                    )
        if self.rope_scaling == "none":
            for key in SCALING_KEYS:
                if getattr(self, key) != getattr(ModelConfig, key):
                    raise UserError(f"model {key} is for a rope_scaling, and there is none", remedy=f"Leave out {key}")
        elif self.rope_factor < 1:
            raise UserError(f"model rope_factor must be at least 1, is {self.rope_factor}")
        if self.positions == "sinusoidal" and self.width % 2:
            raise UserError(f"sinusoidal positions need an even width, is {self.width}")

    def _check_combinations(self) -> None:
        """What would be accepted and ignored, or make no sense, is refused."""
        if self.window > self.max_length:
            raise UserError(f"model window {self.window} is longer than max_length {self.max_length}")
        for key in ("global_every", "rope_local_theta"):
            if getattr(self, key) and not self.window:
                raise UserError(f"model {key} is for layers with a window, and there is none", remedy="Give a window")
        if self.norm_plus_one and self.norm != "rmsnorm":
            raise UserError(f"norm_plus_one is for rmsnorm, and norm is '{self.norm}'")
        if self.norm_plus_one and not self.norm_weight:
            raise UserError("norm_plus_one is for weights of norms, and there are none")
        if not self.norm_bias and (self.norm != "layernorm" or not self.norm_weight):
            raise UserError("norm_bias is for a layernorm with weights", remedy="Leave out norm_bias")
        if self.position_offset and self.positions != "learned":
            raise UserError(f"position_offset is for learned positions, and positions are '{self.positions}'")
        if self.parallel and self.norm_place != "pre":
            raise UserError(f"parallel layers read one norm before them, and norm_place is '{self.norm_place}'")
        if self.bias and self.qkv_bias:
            raise UserError("model bias includes qkv_bias", remedy="Give one of them")
        if self.value_embeddings and self.layers < 2:
            raise UserError("value embeddings are in every second layer, and there is one")

    def _check_kinds(self) -> None:
        """What experts and state spaces do not go with."""
        if self.experts and self.bias:
            raise UserError("experts have no biases", remedy="Leave out bias; qkv_bias is possible")
        if self.experts and not any(self.has_experts(layer) for layer in range(self.layers)):
            raise UserError("no layer has experts", remedy="Lower experts' every or dense_first, or leave out experts")
        if self.state_space is None:
            return
        self.state_space.check(self.width)
        if not self.causal:
            raise UserError("a state space reads from left to right, and the model is not causal")
        if self.norm_place != "pre" or self.parallel or self.residual_scalars or self.value_embeddings:
            raise UserError(
                "state-space layers have one norm before them and are added to the stream",
                remedy="Leave out norm_place, parallel, residual_scalars and value_embeddings",
            )
        if self.attends:
            return
        if self.positions in ("rope", "alibi"):
            raise UserError(f"positions '{self.positions}' are for attention, and no layer has it", remedy="Use none")
        for key in ATTENTION_KEYS:
            if getattr(self, key) != getattr(ModelConfig, key):
                raise UserError(f"model {key} is for attention, and no layer has it", remedy=f"Leave out {key}")

    @property
    def attends(self) -> bool:
        """Has any layer attention?"""
        return not all(self.is_recurrent(layer) for layer in range(self.layers))

    @property
    def rope_width(self) -> int:
        """How many numbers of a head RoPE turns."""
        return int(self.head_width * self.rope_share)

    @property
    def gated(self) -> bool:
        """Has the feed-forward layer a gate?"""
        return self.activation in GATED

    def is_local(self, layer: int) -> bool:
        """Does layer number ``layer`` (from 0) see through the window?"""
        return bool(self.window) and not (self.global_every and (layer + 1) % self.global_every == 0)

    def is_turned(self, layer: int) -> bool:
        """Does layer number ``layer`` use RoPE, in a model that has it?"""
        return not (self.rope_skip and (layer + 1) % self.rope_skip == 0)

    def has_values(self, layer: int) -> bool:
        """Has layer number ``layer`` value embeddings? The last one has, and every second before it."""
        return self.value_embeddings and (self.layers - 1 - layer) % 2 == 0

    def is_recurrent(self, layer: int) -> bool:
        """Is layer number ``layer`` a Mamba-2 layer?"""
        every = self.state_space.attention_every if self.state_space else 1
        return not (every and (layer + 1) % every == 0)

    def has_feedforward(self, layer: int) -> bool:
        """Has layer number ``layer`` a feed-forward layer, of whatever kind?"""
        return self.state_space is None or self.state_space.feedforward or not self.is_recurrent(layer)

    def has_experts(self, layer: int) -> bool:
        """Is that of layer number ``layer`` a mixture of experts?"""
        if self.experts is None or not self.has_feedforward(layer):
            return False
        return layer >= self.experts.dense_first and (layer + 1) % self.experts.every == 0

    def matrix_parameters(self) -> int:
        """Weights that multiply every token: blocks and output layer, not the embedding look-up."""
        attention = self.width * self.head_width * 2 * (self.heads + self.kv_heads)
        recurrent = self.state_space.matrices(self.width) if self.state_space else 0
        matrices = 3 if self.gated else 2
        count = self.width**2 if self.head_transform else 0
        for layer in range(self.layers):
            count += recurrent if self.is_recurrent(layer) else attention
            if self.experts and self.has_experts(layer):
                count += self.experts.active(self.width, matrices)
            elif self.has_feedforward(layer):
                count += self.width * self.feedforward * matrices
        return count + self.vocab_size * self.width

    def parameters(self) -> int:
        """All weights, norms, biases and the experts that a token does not use included."""
        count = self.matrix_parameters() + (0 if self.tied else self.vocab_size * self.width)
        norm = self.width * self.norm_weight * (2 if self.norm == "layernorm" and self.norm_bias else 1)
        recurrent = sum(self.is_recurrent(layer) for layer in range(self.layers))
        fed = sum(self.has_feedforward(layer) for layer in range(self.layers))
        attending = self.layers - recurrent
        last = 0 if self.norm_place == "post" else 1
        norms = (self.layers + fed) * (2 if self.norm_place == "sandwich" else 1) + last + self.embedding_norm
        count += norm * (norms + self.head_transform)
        if self.positions == "learned":
            count += (self.max_length + self.position_offset) * self.width
        heads = self.head_width * (self.heads + 2 * self.kv_heads)
        if self.bias:
            count += attending * (heads + self.width)
            count += fed * (self.width + self.feedforward * (2 if self.gated else 1))
        if self.qkv_bias:
            count += attending * heads
        count += 2 * self.head_width * attending * self.qk_norm * self.norm_weight
        count += 2 * self.layers * self.residual_scalars
        count += self.width * (self.head_transform + self.token_types) + self.vocab_size * self.head_bias
        if self.experts:
            mixed = sum(self.has_experts(layer) for layer in range(self.layers))
            count += mixed * self.experts.idle(self.width, 3 if self.gated else 2)
        if self.state_space:
            biases = self.state_space.matrices(self.width) // self.width - self.state_space.inner(self.width)
            count += recurrent * (self.state_space.others(self.width) + self.bias * (biases + self.width))
        valued = sum(self.has_values(layer) for layer in range(self.layers))
        return count + valued * (self.vocab_size * self.kv_heads * self.head_width + 1)

    def flops_per_token(self, length: int) -> float:
        """Training cost of one token, forward and backward, in sequences of ``length``.

        6 for each multiplying weight, and 12 x layers x heads x head width x length / 2 for causal
        attention (Chowdhery et al. 2022, PaLM, appendix B, halved because the upper triangle is not needed);
        a token of a layer with a window sees no more than that, and one of a state space its chunk.
        """
        seen = scans = 0.0
        for layer in range(self.layers):
            if self.state_space and self.is_recurrent(layer):
                scans += self.state_space.flops(self.width)
                continue
            reach = min(self.window, length) if self.is_local(layer) else length
            seen += reach - reach * reach / (2 * length) if self.causal else reach
        return 6.0 * self.matrix_parameters() + 12.0 * self.heads * self.head_width * seen + scans
