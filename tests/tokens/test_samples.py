"""Three constructions of several turns, what does not fit, and texts learned whole."""

from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.transformer import Transformer
from danlu.objectives.next_token import NextToken
from danlu.text.document import Conversation
from danlu.tokens.batches import sequential
from danlu.tokens.chat import Rendered, render
from danlu.tokens.pack import ListItems
from danlu.tokens.samples import build
from danlu.tokens.templates import Learn
from danlu.tokens.tokenizer import Tokenizer
from tests.tokens.talk import LONG, SINGLE
from tests.tokens.test_answers import THINKING

CHAT = Conversation(LONG, where="chats.jsonl, line 3")


def words(tokenizer: Tokenizer, item: Rendered) -> str:
    return tokenizer.decode((i for i, m in zip(item.ids, item.mask) if m), skip_special=False)


def test_all_each_and_last(tokenizer: Tokenizer) -> None:
    answers = [f"{turn['content'].strip()}<|im_end|>" for turn in LONG if turn["role"] == "assistant"]
    (whole,) = build(tokenizer, CHAT, 500, "all").items
    assert whole == render(tokenizer, LONG)
    assert words(tokenizer, whole) == "".join(answers)
    each = build(tokenizer, CHAT, 500, "each")
    assert [words(tokenizer, item) for item in each.items] == answers
    assert [item.ids for item in each.items] == [render(tokenizer, LONG[:end]).ids for end in (3, 5, 7)]
    last = build(tokenizer, CHAT, 500, "last")
    assert last.items == each.items[-1:]
    assert [(made.answers, made.lost) for made in (each, last)] == [(3, 0), (1, 0)]
    asking = Conversation(LONG[:-1])  # it ends with a question
    assert [words(tokenizer, item) for item in build(tokenizer, asking, 500, "last").items] == answers[1:2]


def gradients(model: Transformer, items: list[Rendered], *, packed: bool) -> tuple[float, list[Tensor]]:
    """The loss sum over all items and its gradient, in rows of one item or of several."""
    model.zero_grad()
    total = 0.0
    shape: dict[str, Any] = {"batch_size": 2, "length": 256 if packed else max(map(len, items)), "pad_id": 0}
    batches = [sequential(ListItems([item]), **shape, split=False) for item in items]
    for found in [sequential(ListItems(items), **shape, split=False)] if packed else batches:
        for batch in found:
            summed, _ = NextToken()(model, batch)
            summed.backward()
            total += float(summed.detach())
    return total, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("packed", [False, True])
def test_each_and_all_give_the_same_loss_and_gradient(tokenizer: Tokenizer, tiny: Tiny, packed: bool) -> None:
    model = tiny(vocab_size=tokenizer.vocab_size, max_length=512)
    ways: tuple[Learn, ...] = ("all", "each")
    (loss, wanted), (other, found) = (
        gradients(model, build(tokenizer, CHAT, 500, learn).items, packed=packed) for learn in ways
    )
    assert other == pytest.approx(loss, rel=1e-5)
    for a, b in zip(wanted, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))
    assert max(float(a.abs().max()) for a in wanted) > 0.1


def test_each_sees_what_inference_sees(tokenizer: Tokenizer) -> None:
    """A template that writes the end of a conversation in its own way shows every answer as an end."""
    ours = tokenizer.with_config(chat_template=THINKING)
    chat = Conversation([*SINGLE, *SINGLE])
    thought = "<think>\n\n</think>\n\nthe fox<|im_end|>"
    assert [words(ours, item) for item in build(ours, chat, 500, "each").items] == [thought, thought]
    assert words(ours, build(ours, chat, 500, "all").items[0]) == "the fox<|im_end|>" + thought


def test_what_does_not_fit_is_counted(tokenizer: Tokenizer) -> None:
    sizes = [len(render(tokenizer, LONG[:end])) for end in (3, 5, 7)]
    found = {learn: [build(tokenizer, CHAT, length, learn) for length in (sizes[1], sizes[0] - 1)]
             for learn in ("all", "each", "last")}  # fmt: skip
    assert [(len(made.items), made.answers, made.lost) for made in found["all"]] == [(1, 3, 1), (0, 3, 3)]
    assert [(len(made.items), made.answers, made.lost) for made in found["each"]] == [(2, 3, 1), (0, 3, 3)]
    assert [(len(made.items), made.answers, made.lost) for made in found["last"]] == [(0, 1, 1), (0, 1, 1)]
    assert found["all"][0].items == [render(tokenizer, LONG[:5])]


def test_an_answer_of_weight_0_is_context(tokenizer: Tokenizer) -> None:
    turns = [*LONG[:2], {**LONG[2], "weight": 0}, *LONG[3:5], LONG[5], {**LONG[6], "weight": 0}]
    for learn in ("all", "each", "last"):
        made = build(tokenizer, Conversation(turns), 500, learn)  # type: ignore[arg-type]
        assert [words(tokenizer, item) for item in made.items] == ["(because)<|im_end|>"]
        assert (made.answers, made.lost) == (1, 0)
    (whole,) = build(tokenizer, Conversation(turns), 500).items
    assert whole.ids == render(tokenizer, LONG).ids
    short = build(tokenizer, Conversation(turns), len(render(tokenizer, LONG[:3])))
    assert (short.items, short.answers, short.lost) == ([], 1, 1)


def test_a_text_is_learned_whole_and_a_long_one_in_pieces(tokenizer: Tokenizer) -> None:
    text = "天下大势，分久必合。 The fox <|im_end|> runs."
    ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
    (whole,) = build(tokenizer, Conversation(text=text), len(ids)).items
    assert whole == Rendered(ids, [0] + [1] * (len(ids) - 1))
    for length in (2, 5, len(ids) - 1):
        pieces = build(tokenizer, Conversation(text=text), length, "last").items
        assert all(2 <= len(piece) <= length for piece in pieces)
        targets = [i for piece in pieces for i, m in zip(piece.ids, piece.mask) if m]
        assert targets == ids[1:]  # every token but the first is learned, once
        assert [piece.ids[0] for piece in pieces[1:]] == [piece.ids[-1] for piece in pieces[:-1]]
    assert "<|im_end|>" in tokenizer.decode(ids)


def test_errors_name_the_record(tokenizer: Tokenizer) -> None:
    wrong = Conversation([*SINGLE, {"role": "assistant", "content": "x"}], where="chats.jsonl, line 3")
    with pytest.raises(UserError, match=r"chats\.jsonl, line 3, message 3: role 'assistant' cannot come after"):
        build(tokenizer, wrong, 100)
    twice = tokenizer.chat_template or ""
    twice = twice.replace("{% generation %}", "{% generation %}{% endgeneration %}{% generation %}")
    with pytest.raises(UserError, match=r"line 3: the chat template marks 6 stretches as answers, and 3 are there"):
        build(tokenizer.with_config(chat_template=twice), CHAT, 500, "last")
    unmarked = tokenizer.with_config(chat_template=twice.replace("'assistant'", "'nobody'"))
    with pytest.raises(UserError, match="line 3: the chat template marks nothing of the conversation"):
        build(unmarked, CHAT, 500)
