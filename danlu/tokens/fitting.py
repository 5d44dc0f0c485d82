"""A tokenizer made ready for fine-tuning: a chat template, the special tokens that it needs, and a padding token.

Special tokens that are there are used. Missing ones are added where the model has rows to spare and all its weights
learn; elsewhere they are refused, because a row that nobody trains says nothing (``danlu tokenizer extend`` makes rows,
which LoRA then trains).
"""

from collections.abc import Sequence

from danlu.base.errors import UserError
from danlu.base.progress import say
from danlu.tokens.templates import TEMPLATES, TemplateName
from danlu.tokens.tokenizer import PAD, Tokenizer

PADS = ("<|endoftext|>", "<pad>", "<|pad|>", "[PAD]", "<unk>")


def fitted(tokenizer: Tokenizer, template: TemplateName, rows: int, *, learned: bool) -> Tokenizer:
    """The tokenizer with the template of that name ("own": the one it has) and padding of its own; says what it did.

    ``rows`` is how many ids the model's embedding holds, ``learned`` whether all of them learn. Raises `UserError`
    where there is no template, or no room for what it needs.
    """
    if template != "own":
        named = TEMPLATES[template]
        tokenizer = _with_special(tokenizer, template, named.tokens, rows, learned=learned)
        tokenizer = tokenizer.with_config(chat_template=named.source)
    elif tokenizer.chat_template is None:
        if not set(TEMPLATES["chatml"].tokens) <= set(tokenizer.special_ids):
            names = ", ".join(TEMPLATES)
            raise UserError("the tokenizer has no chat template", remedy=f"Choose one with --template: {names}")
        say("  the tokenizer has no chat template and the special tokens of chatml: that is used")
        tokenizer = tokenizer.with_config(chat_template=TEMPLATES["chatml"].source)
    if tokenizer.pad_id != tokenizer.end_of_turn_id:
        return tokenizer
    padded, said = with_padding(tokenizer, rows)
    if padded is not tokenizer:  # else `danlu.tokens.chat.check_template` refuses it
        say(f"  {said}")
    return padded


def _with_special(tokenizer: Tokenizer, template: str, tokens: Sequence[str], rows: int, *, learned: bool) -> Tokenizer:
    missing = [token for token in tokens if tokenizer.core.token_to_id(token) is None]
    if not missing:
        return tokenizer
    free = rows - tokenizer.vocab_size
    if not learned or free < len(missing):
        why = f"the model has rows for {max(free, 0)} more" if learned else "with this method their rows do not learn"
        listed = " ".join(f"'{token}'" for token in missing)
        remedy = f"Make rows first: danlu tokenizer extend MODEL --add 0 --special {listed} --out DIR"
        raise UserError(f"the template '{template}' needs {' '.join(missing)}, and {why}", remedy=remedy)
    say(f"  special tokens added for the template '{template}': {' '.join(missing)}")
    return tokenizer.with_special(missing)


def with_padding(tokenizer: Tokenizer, rows: int = 0) -> tuple[Tokenizer, str]:
    """A padding token that ends nothing, and what to say about it; the same tokenizer where there is none to be had.

    Other trainers mask padding, so that an end that is padding is never learned (unsloth issue 416); here padding is
    masked by its place, but what is saved has to be safe for others too. One is added where ``rows`` leave room: no
    row of it is ever trained or read.
    """
    ends = {tokenizer.eos_id, tokenizer.end_of_turn_id}
    if tokenizer.pad_id not in ends:
        return tokenizer, ""
    found = f"'{tokenizer.token(tokenizer.pad_id)}' ends a turn, and padding is never learned"
    named = [name for name in tokenizer.special_ids if "pad" in name.lower()]
    for name in (tokenizer.config.get("unk_token"), *PADS, *named):
        if name in tokenizer.special_ids and tokenizer.special_ids[name] not in {*ends, tokenizer.bos_id}:
            return tokenizer.with_config(pad_token=name), f"padding is '{name}': {found}"
    if tokenizer.vocab_size < rows and tokenizer.core.token_to_id(PAD) is None:
        added = tokenizer.with_special([PAD]).with_config(pad_token=PAD)
        return added, f"padding is '{PAD}', which was added: {found}"
    return tokenizer, "there is no token for padding, so this tokenizer cannot be fine-tuned with"
