"""Fine-tune a part of the weights, the rest frozen: the last blocks, what names say, the embeddings.

What lies before the first trained block costs no backward pass at all, and what is frozen costs neither a gradient nor
an optimizer's state. The last blocks alone: Howard and Ruder 2018 and Lee et al. 2019; the biases alone: BitFit (Ben
Zaken et al. 2022).
"""

from danlu.base.errors import UserError, nearest
from danlu.model import families
from danlu.model.adapters.settings import Freeze
from danlu.model.foreign import Foreign
from danlu.model.transformer import Transformer


def freeze(model: Transformer, settings: Freeze) -> list[str]:
    """Let only what ``settings`` say learn; returns the names of those parameters, as a directory has them."""
    last = _first_of_last(model, settings.last_layers)
    tables = {id(model.embed.weight), id(model.output_weight)} if settings.embeddings else set[int]()
    found = list[tuple[str, bool]]()
    for own, parameter in model.named_parameters():
        name = _name(model, own)
        in_block = own.startswith("blocks.") and int(own.split(".")[1]) >= last
        named = any(called(name, wanted) for wanted in settings.names)
        parameter.requires_grad_(in_block or named or id(parameter) in tables)
        found.append((name, parameter.requires_grad))
    for wanted in settings.names:
        if not any(called(name, wanted) for name, _ in found):
            if wanted == "bias":
                what = "the model has no biases, which are all that BitFit trains"
                raise UserError(what, where="recipe: freeze.names", remedy="Use --method ia3, or --freeze.names norm")
            parts = {part for name, _ in found for part in name.split(".") if not part.isdigit()}
            what = f"no parameter has '{wanted}' in its name"
            raise UserError(what, where="recipe: freeze.names", remedy=nearest(wanted, parts))
    return [name for name, learns in found if learns]


def _first_of_last(model: Transformer, count: int) -> int:
    """The number of the first of the last ``count`` blocks."""
    if isinstance(model, Foreign):
        if count:
            what = f"the layers of a {model.config.model_type} model are not known here"
            raise UserError(what, where="recipe: freeze.last_layers", remedy="Give 0, and names")
        return 0
    if count > len(model.blocks):
        what = f"must be at most the model's {len(model.blocks)}, found {count}"
        raise UserError(what, where="recipe: freeze.last_layers")
    return len(model.blocks) - count


def called(name: str, wanted: str) -> bool:
    """Are the parts of ``wanted`` parts of the name, one after another? bias, q_proj, layers.3, 3.mlp.down_proj."""
    return f".{wanted}." in f".{name}."


def _name(model: Transformer, own: str) -> str:
    """What a Hugging Face directory calls our parameter, or the tensor that it is a part of."""
    return own.removeprefix("network.") if isinstance(model, Foreign) else families.hub_name(model.config, own)
