"""What the methods beside LoRA and partial fine-tuning can be told. Plain data: no torch here."""

from dataclasses import dataclass
from typing import Literal

from danlu.base.errors import UserError

Start = Literal["vocabulary", "random", "text"]
Encoder = Literal["mlp", "lstm"]
Placement = Literal["houlsby", "pfeiffer", "parallel"]
Nonlinearity = Literal["relu", "gelu", "silu"]
LAYERS = 2  # of P-tuning's LSTM: its authors', and peft's


def check(section: str, *rules: tuple[str, object, bool, str]) -> None:
    """A `UserError` for the first rule of (key, its value, does it hold?, what the rule is) that does not hold."""
    for key, value, holds, rule in rules:
        if not holds:
            raise UserError(f"{rule}, found {value!r}", where=f"recipe: {section}.{key}")


def _check_start(section: str, init: Start | None, text: str) -> None:
    if (init == "text") != bool(text.strip()):
        what = "is what the virtual tokens begin as, so init text needs it, and only that does"
        raise UserError(what, where=f"recipe: {section}.text", remedy=f"Give --{section}.init text with a text")


@dataclass(frozen=True)
class Prefix:
    """Prefix tuning (Li and Liang 2021): keys and values before every document, in each layer."""

    tokens: int = 20
    """Virtual tokens: columns of keys and values."""
    init: Start | None = None
    """What they begin as: vocabulary (what the model makes of tokens drawn evenly from its vocabulary), random (small
    normal numbers), or text (what it makes of one); unset is vocabulary, and with a projection random."""
    text: str = ""
    """With init text: the text, repeated or cut to as many tokens."""
    projection: bool = False
    """Learn them through a network of two layers, which is left out of what is saved; the paper's way."""
    hidden: int = 0
    """With a projection: its hidden size; 0 is the width of a layer's keys."""

    def __post_init__(self) -> None:
        check(
            "prefix",
            ("tokens", self.tokens, self.tokens >= 1, "must be at least 1"),
            ("hidden", self.hidden, self.hidden >= 0, "must not be negative"),
            ("hidden", self.hidden, self.projection or not self.hidden, "is a projection's, and there is none"),
            ("init", self.init, not self.projection or self.init in (None, "random"), "a projection begins at random"),
        )
        _check_start("prefix", self.init, self.text)

    @property
    def start(self) -> Start:
        """`init`, settled."""
        return self.init or ("random" if self.projection else "vocabulary")


@dataclass(frozen=True)
class Prompt:
    """Prompt tuning (Lester et al. 2021): embeddings before every document."""

    tokens: int = 20
    """Virtual tokens."""
    init: Start = "vocabulary"
    """What they begin as: vocabulary (the embeddings of tokens drawn evenly), random (normal numbers of the embedding's
    own size), or text (the embeddings of its tokens)."""
    text: str = ""
    """With init text: the text, repeated or cut to as many tokens."""

    def __post_init__(self) -> None:
        check("prompt", ("tokens", self.tokens, self.tokens >= 1, "must be at least 1"))
        _check_start("prompt", self.init, self.text)


@dataclass(frozen=True)
class Ptuning:
    """P-tuning (Liu et al. 2021): embeddings before every document, made by a network that is left out when saved."""

    tokens: int = 20
    """Virtual tokens."""
    encoder: Encoder = "mlp"
    """The network: mlp (three linear layers) or lstm (both ways, and two linear layers)."""
    hidden: int = 0
    """Its hidden size; 0 is the model's width."""
    layers: int = LAYERS
    """With encoder lstm: its layers."""

    def __post_init__(self) -> None:
        own = self.encoder == "lstm" or self.layers == LAYERS
        check(
            "ptuning",
            ("tokens", self.tokens, self.tokens >= 1, "must be at least 1"),
            ("hidden", self.hidden, self.hidden >= 0, "must not be negative"),
            ("layers", self.layers, self.layers >= 1, "must be at least 1"),
            ("layers", self.layers, own, "is for encoder lstm; an mlp has three layers"),
        )


@dataclass(frozen=True)
class Ia3:
    """IA3 (Liu et al. 2022): a learned number for each key, value and hidden unit of the feed-forward layer."""

    targets: tuple[str, ...] = ()
    """Names of the layers that are scaled, or their ends, such as k_proj down_proj; unset is the paper's: keys, values
    and the feed-forward layer's last matrix, whose input is scaled."""
    inputs: tuple[str, ...] = ()
    """Those of the targets whose input is scaled, and not the output."""

    def __post_init__(self) -> None:
        known = set(self.inputs) <= set(self.targets)
        check(
            "ia3",
            ("targets", self.targets, all(self.targets), "needs names of layers"),
            ("inputs", self.inputs, known, "must be names that targets has too"),
        )


@dataclass(frozen=True)
class Bottleneck:
    """Bottleneck adapters: small networks of two layers after or beside the model's own layers."""

    kind: Placement = "pfeiffer"
    """houlsby (after attention and after the feed-forward layer; Houlsby et al. 2019), pfeiffer (after the feed-forward
    layer; Pfeiffer et al. 2020), parallel (beside the feed-forward layer; He et al. 2021)."""
    width: int = 64
    """Hidden units of each."""
    activation: Nonlinearity = "relu"
    """Between its two layers."""
    scale: float = 1.0
    """Its output is multiplied by so much; He et al. take 4 for parallel ones."""

    def __post_init__(self) -> None:
        check(
            "adapter",
            ("width", self.width, self.width >= 1, "must be at least 1"),
            ("scale", self.scale, self.scale > 0, "must be above 0"),
        )


Other = Prefix | Prompt | Ptuning | Ia3 | Bottleneck
