"""Heads that only training needs, attached to a model from outside and taken off before it is saved.

Multi-token prediction: beside the next token, predict the one after it, and more. Of the two known forms this is the
sequential one (DeepSeek-V3, arXiv:2412.19437, section 2.2), not the parallel one (Gloeckle et al. 2024,
arXiv:2404.19737): each head is given the tokens in between, so what it has to say is as certain as the next token is,
where a parallel head has to guess over its own gap; that is what small models cannot do, and Gloeckle et al. found
theirs to lose by it. A head here is a feed-forward block without attention of its own, as in Hydra (Ankner et al. 2024,
arXiv:2402.05109): what came before has been looked at by the trunk, and a head needs neither positions nor masks, so
the transformer knows nothing of it. The embedding and the output layer are the model's own.

Legend: N positions, D width.
"""

from torch import Tensor, nn

from danlu.base.seed import derive
from danlu.model.config import ModelConfig
from danlu.model.feedforward import FeedForward
from danlu.model.init import initialise
from danlu.model.linear import Linear
from danlu.model.norm import make_norm
from danlu.model.transformer import Transformer

NAME = "ahead"  # of the module in the model, and so the beginning of its parameters' names in a checkpoint


class AheadBlock(nn.Module):
    """What was known at a position, and the next token in between → what is known one token later."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden_norm, self.token_norm = make_norm(config), make_norm(config)
        self.mix = Linear(2 * config.width, config.width, bias=False)
        self.feedforward_norm, self.feedforward = make_norm(config), FeedForward(config)
        self.norm = make_norm(config)

    def forward(self, hidden: Tensor, token: Tensor) -> Tensor:
        """hidden, token: [N, D] -> [N, D]; `norm` of it is what the output layer reads."""
        halves = self.mix.weight.to(hidden.dtype).chunk(2, dim=1)  # of two products nothing has to be joined
        x = self.hidden_norm(hidden) @ halves[0].t() + self.token_norm(token) @ halves[1].t()
        return x + self.feedforward(self.feedforward_norm(x))


class Ahead(nn.Module):
    """One block for each token after the next one. They are called ``blocks`` so that Muon takes their matrices."""

    def __init__(self, config: ModelConfig, count: int, seed: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AheadBlock(config) for _ in range(count))
        initialise(self, derive(seed, NAME))


def attach(model: Transformer, count: int, seed: int) -> None:
    """Give ``model`` heads for the ``count`` tokens after the next one; what it computes stays the same."""
    setattr(model, NAME, Ahead(model.config, count, seed).to(model.embed.weight.device))


def heads_of(model: Transformer) -> Ahead:
    """The heads that `attach` gave."""
    found = getattr(model, NAME)
    assert isinstance(found, Ahead)
    return found


def detach(model: Transformer) -> None:
    """Take the heads off, if there are any: what is saved is the model alone."""
    if hasattr(model, NAME):
        delattr(model, NAME)
