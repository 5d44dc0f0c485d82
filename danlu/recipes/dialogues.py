"""What `danlu sft` trains on: conversations of every shape, split in three and built into items."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from danlu.base.artifact import Draft
from danlu.base.errors import UserError
from danlu.base.progress import say
from danlu.model.transformer import Transformer
from danlu.recipes.chats import HELD_OUT, TEST, conversations_from, write_records
from danlu.recipes.sft import Sft
from danlu.recipes.sides import Side, check_apart, grouped, normalized, sides
from danlu.recipes.training import held_out_loss
from danlu.text.document import Conversation
from danlu.tokens.chat import Rendered
from danlu.tokens.samples import build
from danlu.tokens.templates import Learn
from danlu.tokens.tokenizer import Tokenizer


@dataclass
class Built:
    """One side: its conversations and what they became. Answers that did not fit are ``lost``."""

    chats: list[Conversation] = field(default_factory=list)
    items: list[Rendered] = field(default_factory=list)
    dropped: int = 0  # conversations of which nothing fits
    cut: int = 0  # conversations of which some answers do not
    answers: int = 0
    lost: int = 0

    @property
    def kept(self) -> int:
        """Conversations of which something is left."""
        return len(self.chats) - self.dropped


@dataclass(frozen=True)
class Dialogues:
    """Conversations ready for training, those held out to measure on the way, and those for the end."""

    training: Built
    held_out: Built
    test: Built

    @property
    def tokens(self) -> int:
        """Of the training side, prompts included."""
        return sum(map(len, self.training.items))

    @property
    def metrics(self) -> dict[str, int]:
        """What the manifest keeps of it."""
        every = (self.training, self.held_out, self.test)
        found = {"conversations": self.training.kept, "held_out": self.held_out.kept, "test": self.test.kept}
        found |= {name: sum(getattr(side, name) for side in every) for name in ("dropped", "cut", "answers", "lost")}
        learned = sum(sum(item.mask[1:]) for item in self.training.items)
        return found | {"items": len(self.training.items), "learned_tokens": learned}

    def write(self, draft: Draft) -> None:
        """The conversations that are not learned, as files that read back as they are."""
        write_records(draft.path / HELD_OUT, (chat.record() for chat in self.held_out.chats))
        if self.test.chats:
            write_records(draft.path / TEST, (chat.record() for chat in self.test.chats))


def dialogues(recipe: Sft, tokenizer: Tokenizer) -> Dialogues:
    """Read, split and build; what does not fit is counted and said."""
    chats = conversations_from(recipe.chats, recipe.bad_share, recipe.most_per_source)
    asked = [normalized(chat.question) for chat in chats]
    found: dict[Side, list[Conversation]] = {"train": [], "heldout": [], "test": []}
    for chat, side in zip(
        chats, sides(grouped(asked), recipe.held_out_share, recipe.test_share, recipe.seed), strict=True
    ):
        found[side].append(chat)
    if recipe.test:
        found["test"] = conversations_from(recipe.test, recipe.bad_share)
        check_apart(asked, [normalized(chat.question) for chat in found["test"]])
    built = {side: built_from(side_chats, tokenizer, recipe.length, recipe.learn) for side, side_chats in found.items()}
    done = Dialogues(built["train"], built["heldout"], built["test"])
    _tell(done, recipe.length)
    if not done.training.items:
        what = f"no conversation is left to train on: {done.training.dropped} do not fit"
        raise UserError(what, remedy=f"Raise the length ({recipe.length}) or check the chats")
    return done


def built_from(chats: Sequence[Conversation], tokenizer: Tokenizer, length: int, learn: Learn) -> Built:
    """The items of several conversations, and what was lost."""
    side = Built(list(chats))
    for chat in chats:
        made = build(tokenizer, chat, length, learn)
        side.items += made.items
        side.answers, side.lost = side.answers + made.answers, side.lost + made.lost
        side.dropped += not made.items
        side.cut += bool(made.items) and made.lost > 0
    return side


def _tell(done: Dialogues, length: int) -> None:
    numbers = done.metrics
    total = sum(len(side.chats) for side in (done.training, done.held_out, done.test))
    if numbers["dropped"]:
        say(f"  {numbers['dropped']} of {total} conversations do not fit in {length} tokens and are left out")
    if numbers["cut"]:
        say(f"  {numbers['cut']} of {total} conversations are longer than {length} tokens and keep some answers only")
    if numbers["lost"]:
        lost, answers = numbers["lost"], numbers["answers"]
        say(f"  {lost} of {answers} answers ({lost / answers:.1%}) are not learned: a larger --length would hold them")


def measured_once(
    draft: Draft, data: Dialogues, tokenizer: Tokenizer, length: int
) -> Callable[[Transformer], None] | None:
    """What measures the final weights on the test side, into the metric ``test_loss``; None where that is empty.

    It is called once, after training, so that nothing that was decided on the way has seen the test.
    """
    if not data.test.items:
        return None
    loss = held_out_loss(draft, data.test.items, tokenizer, length, "test_loss")

    def measure(model: Transformer) -> None:
        model.eval()
        with torch.no_grad():
            loss(model)
        say(f"  test loss {draft.metrics['test_loss']:.4f} on {data.test.kept} conversations that nothing else saw")

    return measure
