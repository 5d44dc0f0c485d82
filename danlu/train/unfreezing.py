"""Staged unfreezing: the rows of new tokens learn first, then the embeddings, then everything.

A vocabulary that was extended brings rows that know little beside layers that know much; let loose together, the
gradients of the first steps would spoil the layers. So what is old stays as it is, bit for bit, until what is new has
found its place (the staged training of Chinese-LLaMA, Cui et al. 2023, and of EEVE, Kim et al. 2024).

Each phase begins with a learning rate that rises anew, as Ibrahim et al. 2024 found that continued training needs, an
optimizer that has seen nothing, and a guard that expects nothing. What is frozen costs no gradient of its weights: a
third of the work of its layers.
"""

from torch import nn

from danlu.model.transformer import Transformer
from danlu.train.settings import Phase, TrainSettings


def phase_at(settings: TrainSettings, step: int) -> tuple[int, Phase]:
    """The phase that step ``step`` (from 0) belongs to, and its first step; after the end, the last phase."""
    begin = 0
    phases = settings.phases or (Phase("all", max(settings.steps, 1)),)
    for phase in phases[:-1]:
        if step < begin + phase.steps:
            return begin, phase
        begin += phase.steps
    return begin, phases[-1]


class NewRows(nn.Module):
    """The rows from ``first`` on of both embeddings, as parameters of their own over the same memory.

    The optimizer gets these, so the old rows are nothing that it could move, decay, or keep averages of. They have the
    names of the whole tables.
    """

    def __init__(self, model: Transformer, first: int) -> None:
        super().__init__()
        self._tables = {"embed": model.embed.weight}
        if not model.config.tied:
            self._tables["head"] = model.head.weight
        self._first = first
        for name, table in self._tables.items():
            rows = nn.Module()
            rows.register_parameter("weight", nn.Parameter(table.detach()[first:]))
            self.add_module(name, rows)

    def collect(self) -> None:
        """Take over the gradients of the tables, those of the old rows left out."""
        for rows, table in zip(self.parameters(), self._tables.values(), strict=True):
            assert table.grad is not None
            rows.grad = table.grad[self._first :]
            table.grad = None


def learner(model: Transformer, phase: Phase) -> nn.Module:
    """Let only the phase's part of ``model`` have gradients, and return what the optimizer updates."""
    tables = ("embed.", "head.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(phase.learns == "all" or name.startswith(tables))
        parameter.grad = None
    return NewRows(model, phase.first_row) if phase.learns == "new rows" else model
