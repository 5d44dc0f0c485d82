"""Several adapters for one model, of which one at a time is on: no base is read twice, and none is copied.

    adapters = Adapters(load_model(Path("runs/base")), {"kind": Path("runs/kind"), "terse": Path("runs/terse")})
    with adapters.using("terse"):
        ...

An adapter stands beside the base's weights, so taking it off leaves the model as it was, to the bit. What changes the
base itself cannot be switched, and is refused: rows of new tokens, and whole tensors.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from danlu.base.errors import UserError, nearest
from danlu.model.adapters import kinds
from danlu.model.adapters.bottleneck import Bottlenecked
from danlu.model.adapters.files import Saved, read_adapter
from danlu.model.adapters.ia3 import Ia3Linear
from danlu.model.adapters.layers import put
from danlu.model.adapters.loading import put_on
from danlu.model.adapters.lora import LoraLinear
from danlu.model.adapters.prefix import Prefixed
from danlu.model.adapters.virtual import Prompted
from danlu.model.transformer import Transformer

ON = (LoraLinear, Ia3Linear, Bottlenecked, Prefixed, Prompted)


def take_off(model: Transformer) -> None:
    """Leave ``model`` as it was before an adapter was put on it, to the bit."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLinear):
            put(model, name, module.base)
    kinds.remove(model)


def switchable(path: Path) -> Saved:
    """The files of an adapter, a `UserError` if it changes the base itself."""
    saved = read_adapter(path)
    if saved.rows or saved.whole:
        what = "changes the model itself (rows of new tokens, or whole tensors), so it cannot be switched on and off"
        raise UserError(what, where=path, remedy="Use it alone, or merge it with 'danlu merge'")
    return saved


class Adapters:
    """A model and adapters by name. ``active`` is the one that is on, None the model alone, as at the start."""

    def __init__(self, model: Transformer, paths: Mapping[str, Path]) -> None:
        """Read all adapters' files; a `UserError` for what is damaged or cannot be switched, or one that is on."""
        if any(isinstance(module, ON) for module in model.modules()):
            raise UserError("an adapter is on the model already", remedy="Give the adapter's base, and it among others")
        self.model, self.active = model, None
        self._saved = {name: switchable(path) for name, path in paths.items()}

    active: str | None

    @property
    def names(self) -> list[str]:
        """Those that there are."""
        return list(self._saved)

    def switch(self, name: str | None) -> None:
        """Have this one on, or none; a `UserError`, and none on, if it does not fit the model."""
        if name is not None and name not in self._saved:
            raise UserError(f"there is no adapter '{name}'", remedy=nearest(name, self._saved))
        take_off(self.model)
        self.active = None
        if name is None:
            return
        saved = self._saved[name]
        try:
            put_on(saved, self.model, saved.path)
        except UserError:
            take_off(self.model)
            raise
        self.active = name

    @contextmanager
    def using(self, name: str | None) -> Iterator[Transformer]:
        """The model with this one on, or none; afterwards with what was on before."""
        before = self.active
        self.switch(name)
        try:
            yield self.model
        finally:
            self.switch(before)
