"""Dropout while a model that there is learns (Srivastava et al. 2014): a matter of the run, not of the model.

What a run sets here is on the modules alone: the configuration, and so the class as which the model is written, stays
as it was. ``dropout`` is that of the embedding and of what each layer adds, ``attention`` that of attention's
probabilities; a model's own ``attention_dropout`` is never taken over by itself, since trainers of today leave it at 0
and it is slow on a CPU. LoRA's dropout is a setting of its own.
"""

from torch import nn

from danlu.base.errors import UserError
from danlu.model.attention import Attention
from danlu.model.foreign import Foreign
from danlu.model.transformer import Residual, Transformer

KEYS = ("dropout", "attention_dropout")
LAYERS = (nn.Dropout, nn.Dropout1d)


def set_dropout(model: Transformer, dropout: float | None, attention: float = 0.0) -> None:
    """Let ``model`` drop so much while it is trained; None leaves what its configuration says.

    A `UserError` where the model has no place for it.
    """
    if isinstance(model, Foreign):
        _set_foreign(model, dropout, attention)
        return
    if dropout is not None:
        model.dropout = dropout
        for module in model.modules():
            if isinstance(module, Residual):
                module.dropout = dropout
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    if attention and not layers:
        raise UserError("no layer has attention", where="recipe: attention_dropout", remedy="Leave it out")
    for layer in layers:
        layer.dropout = attention


def _set_foreign(model: Foreign, dropout: float | None, attention: float) -> None:
    """Its layers of dropout are modules with rates of their own."""
    if attention:
        what = f"the attention of a {model.config.model_type} model is not known here"
        raise UserError(what, where="recipe: attention_dropout", remedy="Leave it out, or use a native family")
    layers = [module for module in model.network.modules() if isinstance(module, LAYERS)]
    if dropout and not layers:
        what = f"a {model.config.model_type} model drops nothing, or in a way that is not known here"
        raise UserError(what, where="recipe: dropout", remedy="Leave it out, or use LoRA's own")
    if dropout is not None:
        for layer in layers:
            layer.p = dropout
