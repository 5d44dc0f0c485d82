"""The shape of a model and its switches. Reading it starts nothing: no torch here.

Every combination below runs; those that a transformers class expresses are saved as that class
(`danlu.model.hub`), the rest as ``model_type: danlu``.
"""

from dataclasses import dataclass
from typing import Literal

from danlu.base.errors import UserError

Activation = Literal["swiglu", "gelu", "relu2"]
Norm = Literal["rmsnorm", "layernorm"]
Position = Literal["rope", "alibi", "learned", "sinusoidal"]


@dataclass(frozen=True)
class ModelConfig:
    """Shape and switches of a decoder. ``kv_heads`` equal to ``heads`` is MHA, 1 is MQA, between is GQA."""

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
    """swiglu (gated), gelu (tanh form) or relu2."""
    norm: Norm = "rmsnorm"
    """rmsnorm or layernorm, before attention, before feed-forward and at the end."""
    norm_epsilon: float = 1e-5
    """Added under the square root of the norm."""
    positions: Position = "rope"
    """rope, alibi, learned or sinusoidal."""
    rope_theta: float = 10_000.0
    """Base of RoPE's frequencies."""
    max_length: int = 512
    """Longest sequence, in tokens."""
    tied: bool = True
    """Share the embedding with the output layer."""
    bias: bool = False
    """Biases in every linear layer of the blocks."""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "layers", "width", "heads", "kv_heads", "head_width", "feedforward", "max_length"):
            if getattr(self, name) < 1:
                raise UserError(f"model {name} must be at least 1, is {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise UserError(
                f"kv_heads {self.kv_heads} do not divide heads {self.heads}",
                remedy=f"Choose one of {', '.join(str(n) for n in range(1, self.heads + 1) if self.heads % n == 0)}",
            )
        if self.positions == "rope" and self.head_width % 2:
            raise UserError(f"RoPE turns pairs of numbers, so head_width must be even, is {self.head_width}")
        if self.positions == "sinusoidal" and self.width % 2:
            raise UserError(f"sinusoidal positions need an even width, is {self.width}")

    def matrix_parameters(self) -> int:
        """Weights that multiply every token: blocks and output layer, not the embedding look-up."""
        attention = self.width * self.head_width * 2 * (self.heads + self.kv_heads)
        feedforward = self.width * self.feedforward * (3 if self.activation == "swiglu" else 2)
        return self.layers * (attention + feedforward) + self.vocab_size * self.width

    def parameters(self) -> int:
        """All weights, norms and biases included."""
        count = self.matrix_parameters() + (0 if self.tied else self.vocab_size * self.width)
        norm = self.width * (1 if self.norm == "rmsnorm" else 2)
        count += norm * (2 * self.layers + 1)
        if self.positions == "learned":
            count += self.max_length * self.width
        if self.bias:
            hidden = self.feedforward * (2 if self.activation == "swiglu" else 1)
            heads = self.head_width * (self.heads + 2 * self.kv_heads)
            count += self.layers * (heads + 2 * self.width + hidden)
        return count

    def flops_per_token(self, length: int) -> float:
        """Training cost of one token, forward and backward, in sequences of ``length``.

        6 for each multiplying weight, and 12 x layers x heads x head width x length / 2 for causal
        attention (Chowdhery et al. 2022, PaLM, appendix B, halved because the upper triangle is not needed).
        """
        return 6.0 * self.matrix_parameters() + 6.0 * self.layers * self.heads * self.head_width * length
