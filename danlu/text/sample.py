"""One record of a task with labels, whatever file it came from. Plain data: importing it starts nothing."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["classify", "tag", "qa", "regress", "embed"]


@dataclass(frozen=True)
class Sample:
    """A text and what is known of it. ``where`` names the record in an error ("a.jsonl, line 3")."""

    where: str
    """File and record."""
    text: str = ""
    """The text; the question of qa; the query of embed; of tag its words with spaces between them."""
    pair: str | None = None
    """A second text; the context of qa; what belongs to the query of embed."""
    labels: tuple[str, ...] | None = None
    """Of classify: one, or any number in a task of several labels. None: not known."""
    multi: bool = False
    """The labels were a list."""
    words: tuple[str, ...] = ()
    """Of tag."""
    tags: tuple[str, ...] | None = None
    """One for each word. None: not known."""
    score: float | None = None
    """Of regress, and of embed where pairs have a degree."""
    answers: tuple[tuple[str, int], ...] | None = None
    """Of qa: texts and the characters of the context where they begin; none at all is a question without an answer."""
    negative: str | None = None
    """Of embed: what does not belong to the query."""
    name: str = ""
    """The record's own id, if it has one."""
