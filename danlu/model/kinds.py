"""Settings of layers of another kind: mixtures of experts and state spaces. Reading them starts nothing: no torch here.

Both are optional parts of `ModelConfig`; `danlu.model.moe` and `danlu.model.mamba` compute them.
"""

from dataclasses import dataclass

from danlu.base.errors import UserError


@dataclass(frozen=True)
class Experts:
    """Feed-forward layers of which each token uses a few (Shazeer et al. 2017; Fedus et al. 2021, Switch).

    Softmax over all experts and then the best, normalised, is the same as softmax over the best alone, so
    ``normalise`` is the whole difference between Mixtral and Qwen2-MoE.
    """

    count: int
    """Experts of a layer."""
    per_token: int
    """How many of them a token uses."""
    width: int
    """Hidden size of one expert."""
    shared_width: int = 0
    """Hidden size of an expert that every token uses besides (DeepSeekMoE); 0 is none."""
    shared_gate: bool = False
    """The shared expert's output is weighted by a sigmoid of the token (Qwen2-MoE)."""
    normalise: bool = True
    """The weights of a token's experts add up to 1."""
    every: int = 1
    """Every so many layers have experts, the others one feed-forward layer."""
    dense_first: int = 0
    """The first so many layers have none (DeepSeekMoE)."""
    balance: float = 0.01
    """Weight of the loss that spreads the load (Fedus et al. 2021, equation 4; their value)."""
    router_z: float = 0.001
    """Weight of the loss that keeps the router's logits small (Zoph et al. 2022, equation 5; their value)."""

    def __post_init__(self) -> None:
        for name in ("count", "per_token", "width", "every"):
            if getattr(self, name) < 1:
                raise UserError(f"experts {name} must be at least 1, is {getattr(self, name)}")
        for name in ("shared_width", "dense_first", "balance", "router_z"):
            if getattr(self, name) < 0:
                raise UserError(f"experts {name} must not be negative, is {getattr(self, name)}")
        if self.count < self.per_token:
            raise UserError(
                f"a token cannot use {self.per_token} experts of {self.count}",
                remedy="Let per_token be at most count",
            )
        if self.per_token == 1 < self.count and self.normalise:
            raise UserError(
                "the weight of a single expert, normalised, is always 1: the router would learn nothing from the loss",
                remedy="Set normalise to false, as Switch has it, or let a token use more experts",
            )
        if self.shared_gate and not self.shared_width:
            raise UserError("shared_gate is for a shared expert, and there is none", remedy="Give a shared_width")

    def active(self, width: int, matrices: int) -> int:
        """Weights that multiply a token, in a layer; an expert has so many matrices."""
        each = matrices * width * (self.per_token * self.width + self.shared_width)
        return each + width * (self.count + self.shared_gate)

    def idle(self, width: int, matrices: int) -> int:
        """Weights that do not."""
        return (self.count - self.per_token) * matrices * width * self.width


@dataclass(frozen=True)
class StateSpace:
    """Mamba-2 layers (Dao and Gu 2024) instead of attention, or between layers of it."""

    state: int = 128
    """Numbers that a head remembers for each of its channels (N)."""
    head_width: int = 64
    """Size of one head (P)."""
    groups: int = 1
    """Heads of a group share what is written and read (B and C), as heads of GQA share keys and values."""
    convolution: int = 4
    """How many tokens the convolution before the scan sees, its own included."""
    convolution_bias: bool = True
    """A bias in it."""
    chunk: int = 64
    """Tokens that are computed as one product; changes the speed alone."""
    expand: int = 2
    """The layer is so many times as wide as the stream."""
    attention_every: int = 0
    """Every so many layers one of attention; 0 is none."""
    feedforward: bool = False
    """Feed-forward layers after the Mamba-2 layers too, and not after attention alone."""

    def __post_init__(self) -> None:
        for name in ("state", "head_width", "groups", "convolution", "chunk", "expand"):
            if getattr(self, name) < 1:
                raise UserError(f"state_space {name} must be at least 1, is {getattr(self, name)}")
        if self.attention_every < 0:
            raise UserError(f"state_space attention_every must not be negative, is {self.attention_every}")

    def check(self, width: int) -> None:
        """Heads share the layer, and groups share the heads."""
        if self.inner(width) % self.head_width:
            wide = f"{self.expand} x {width}"
            raise UserError(f"state_space head_width {self.head_width} does not divide the layer's {wide}")
        if self.heads(width) % self.groups:
            raise UserError(f"state_space groups {self.groups} do not divide the {self.heads(width)} heads")

    def inner(self, width: int) -> int:
        """How wide the layer is."""
        return self.expand * width

    def heads(self, width: int) -> int:
        """How many heads it has."""
        return self.inner(width) // self.head_width

    def mixed(self, width: int) -> int:
        """Channels of the convolution: what is written into the state, where, and where it is read."""
        return self.inner(width) + 2 * self.groups * self.state

    def matrices(self, width: int) -> int:
        """Weights of a layer's projections."""
        return width * (2 * self.inner(width) + self.mixed(width) + self.heads(width))

    def others(self, width: int) -> int:
        """All other weights of a layer, apart from the norm before it and biases of projections."""
        convolution = self.mixed(width) * (self.convolution + self.convolution_bias)
        return convolution + 3 * self.heads(width) + self.inner(width)

    def flops(self, width: int) -> float:
        """Training cost of a token's scan, forward and backward, chunk by chunk (Dao and Gu 2024, section 6)."""
        inside = self.chunk * (self.groups * self.state + self.inner(width))  # scores of a chunk, and their use
        return 6.0 * (inside + 2 * self.inner(width) * self.state)  # and state written and read
