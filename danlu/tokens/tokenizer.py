"""A tokenizer as it lies on disk: ``tokenizer.json`` and ``tokenizer_config.json`` of a Hugging Face directory.

A thin wrapper of `tokenizers.Tokenizer` that adds the special ids, the chat template, and one law: **text is
text**. `Tokenizer.encode` never makes a special id, so a document or a user that types ``<|im_end|>`` forges
no turn. Only `danlu.tokens.chat` writes special ids, from the template.

Left out: slow (pure Python) tokenizers and ``tokenizer.model`` files, whose libraries are not a dependency.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from danlu.base.errors import UserError
from danlu.base.files import existing, write_text

END_OF_TEXT, PAD, TURN_START, TURN_END = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, PAD, TURN_START, TURN_END)
# How other families end a turn: Llama 3, Gemma, Phi 3. None of them says so in a file, so the names are here.
TURN_ENDS = (TURN_END, "<|eot_id|>", "<end_of_turn>", "<|end|>")
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FILE, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
REMEDY = "Give a directory that 'danlu tokenizer train' or transformers saved"


class Tokenizer:
    """Text ↔ ids, the special ids, and the chat template.

    ``bos_id`` begins and ``eos_id`` ends a document; ``end_of_turn_id`` ends a chat turn; ``stop_ids`` are
    where generation stops; ``unknown_id``, if there is one, is what text without a piece becomes. A foreign
    tokenizer without a padding token pads with ``eos_id``: padding has no weight anywhere in Danlu, and
    `danlu.tokens.chat.check_template` refuses the harmful case.
    """

    def __init__(self, core: Any, config: dict[str, Any], where: object = "tokenizer") -> None:
        core.no_truncation()
        core.no_padding()
        core.encode_special_tokens = True  # "<|im_end|>" in a text becomes the ids of its characters
        self._core, self.config = core, config
        ids: dict[str, int] = core.get_vocab(with_added_tokens=True)
        self.special_ids = {t.content: i for i, t in sorted(core.get_added_tokens_decoder().items()) if t.special}
        self.vocab_size = max(ids.values(), default=-1) + 1
        self.chat_template = _template(config)

        def find(name: str) -> int | None:
            token = _content(config.get(name))
            if token is not None and token not in ids:
                raise UserError(f"{name} '{token}' is not in the vocabulary", where=where, remedy=REMEDY)
            return None if token is None else ids[token]

        eos, bos = find("eos_token"), find("bos_token")
        if eos is None:  # BERT's documents stand between [CLS] and [SEP]
            eos, bos = find("sep_token"), find("cls_token") if bos is None else bos
        if eos is None:
            raise UserError("no eos_token is named", where=where, remedy=f'Add "eos_token" to {CONFIG}')
        pad = find("pad_token")
        self.eos_id = eos
        self.bos_id = eos if bos is None else bos
        self.pad_id = eos if pad is None else pad
        self.unknown_id = ids.get(_content(config.get("unk_token")) or "")
        written = [t for t in TURN_ENDS if t in ids and t in (self.chat_template or t)]
        self.end_of_turn_id = ids[written[0]] if written else eos
        self.stop_ids = tuple(dict.fromkeys((self.end_of_turn_id, eos)))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read the Hugging Face directory ``path``; a `UserError` if a file is missing or damaged."""
        existing(path, remedy=REMEDY)
        for name in (FILE, CONFIG):
            if not (path / name).is_file():
                raise UserError(f"{name} is missing", where=path, remedy=REMEDY)
        try:
            config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise ValueError(f"expected keys and values, found {type(config).__name__}")
        except ValueError as error:
            raise UserError(f"not valid JSON ({error})", where=path / CONFIG, remedy=REMEDY) from None
        if (path / TEMPLATE).is_file():  # where newer transformers keep it; it wins there, so it wins here
            config["chat_template"] = (path / TEMPLATE).read_text(encoding="utf-8")
        try:
            core = tokenizers.Tokenizer.from_file(str(path / FILE))
        except Exception as error:  # the library raises nothing narrower
            raise UserError(f"not a readable tokenizer ({error})", where=path / FILE, remedy=REMEDY) from None
        return cls(core, config, path)

    def with_config(self, **changes: Any) -> "Tokenizer":
        """The same tokenizer with other settings: another template, another padding token."""
        return Tokenizer(self._core, {**self.config, **changes})

    def with_special(self, tokens: Sequence[str]) -> "Tokenizer":
        """The same tokenizer with more special tokens, after its last id; a `UserError` for one that is there."""
        core = tokenizers.Tokenizer.from_str(self.rules)
        known = set(core.get_vocab(with_added_tokens=True))
        for token in tokens:
            if not token.strip() or token in known:
                what = (
                    f"special token '{token}' is already in the vocabulary" if token in known else "it has no letters"
                )
                raise UserError(what, where="special tokens", remedy="Choose another name")
            known.add(token)
        core.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False) for t in tokens])
        named = [*self.config.get("additional_special_tokens", ()), *tokens]
        return Tokenizer(core, {**self.config, "additional_special_tokens": named})

    def save(self, path: Path) -> None:
        """Write the two files into ``path``, each atomically; the same tokenizer gives the same bytes."""
        added = {
            str(i): {
                "content": t.content,
                "lstrip": t.lstrip,
                "normalized": t.normalized,
                "rstrip": t.rstrip,
                "single_word": t.single_word,
                "special": t.special,
            }
            for i, t in sorted(self._core.get_added_tokens_decoder().items())
        }
        config = {**self.config, "added_tokens_decoder": added}
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        write_text(path / FILE, self._core.to_str(pretty=True) + "\n")
        write_text(path / CONFIG, json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n")

    @cached_property
    def rules(self) -> str:
        """``tokenizer.json`` on one line: two tokenizers with the same rules give the same ids to every text."""
        return str(self._core.to_str())

    @cached_property
    def named(self) -> dict[str, str]:
        """The special tokens that have a name, as transformers gives them to a chat template: "bos_token" → "<s>"."""
        found = {name: _content(self.config.get(name)) for name in NAMES}
        return {"eos_token": self.token(self.eos_id)} | {name: token for name, token in found.items() if token}

    @property
    def core(self) -> Any:
        """The library's tokenizer, to look at."""
        return self._core

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``, all of it read as text: no special token is added and none is recognised."""
        return list(self._core.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on all cores."""
        return [e.ids for e in self._core.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_spans(self, text: str, *, parse: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and, for each, the characters ``[start, end)`` of ``text`` it stands for.

        ``parse`` turns special tokens written in ``text`` into their ids: for text from a template only.
        """
        encoding = (self._parsing if parse else self._core).encode(text, add_special_tokens=False)
        return list(encoding.ids), list(encoding.offsets)

    @cached_property
    def _parsing(self) -> Any:
        # A second object rather than a flag switched to and fro: a server thread may encode meanwhile.
        return tokenizers.Tokenizer.from_str(self.rules)

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of ``ids``; bytes that are not UTF-8 become U+FFFD."""
        return str(self._core.decode([int(i) for i in ids], skip_special_tokens=skip_special))

    def token(self, token_id: int) -> str:
        """The name of an id, as in ``tokenizer.json``."""
        return str(self._core.id_to_token(token_id))

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled for worker processes only: the library's own pickle forgets that special tokens are text.
        return _restore, (self.rules, self.config)


def _restore(core: str, config: dict[str, Any]) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(core), config)


def _content(token: Any) -> str | None:
    """``"<s>"`` of ``"<s>"`` or of ``{"content": "<s>", ...}``, the two spellings in use."""
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else None


def _template(config: dict[str, Any]) -> str | None:
    """The chat template, or the one named 'default' of several."""
    found = config.get("chat_template")
    if isinstance(found, list):
        found = next((t.get("template") for t in found if isinstance(t, dict) and t.get("name") == "default"), None)
    return found if isinstance(found, str) else None
