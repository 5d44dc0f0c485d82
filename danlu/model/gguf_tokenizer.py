"""The tokenizer inside a GGUF file, as the two files of a Hugging Face directory.

llama.cpp knows two that Llama-family models have. ``gpt2`` is byte-level BPE with its merges in the file and a
name for how text is cut before them; the expressions behind the names are llama.cpp's (``llama-vocab.cpp``),
applied one after the other as there. ``llama`` is SentencePiece's BPE: pieces with scores, the best-scored pair
first, a piece for each byte, and a space before the text; it becomes merges in the order of the scores. Control
pieces never come out of merges: what a person types is text.

An unknown name is refused: with other cuts the ids are nearly right, which is worse than an error.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from danlu.base.errors import UserError
from danlu.model.gguf import COPY_AGAIN, Gguf
from danlu.tokens.chat import check_template
from danlu.tokens.extending.extend import LETTERS
from danlu.tokens.fitting import with_padding
from danlu.tokens.marks import mark_answers
from danlu.tokens.tokenizer import TURN_ENDS, Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # tokenizer.ggml.token_type
SPACE = "▁"
ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
SENTENCEPIECE_IDS = {"bos_token": 1, "eos_token": 2, "unk_token": 0}  # where a file of that kind does not say
# Bytes that are in no UTF-8 text: nobody misses their pieces
NEVER = {0xC0, 0xC1, *range(0xF5, 0x100)}

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SHORT = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = rf"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+"
MARKS = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{LINES}"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


class Cut(NamedTuple):
    """How text is cut before merging: each expression cuts what the ones before it left."""

    names: str
    expressions: tuple[str, ...]
    whole_words: bool = False  # a word that is a piece is that piece, whatever the merges say
    begin: bool = False  # the token that begins a text is added unless the file says no


CUTS = (
    Cut("gpt-2 phi-2 mpt olmo jais exaone4 trillion granite-docling", (GPT2,)),
    Cut("smollm starcoder refact command-r codeshell exaone minerva-7b", (r"\p{N}", GPT2)),
    Cut("default", (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    Cut("falcon", (r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]")),
    Cut("llama3 llama-v3 llama-bpe falcon3 pixtral", (rf"{WORDS}|\p{{N}}{{1,3}}|{MARKS}",), True, True),
    Cut("dbrx smaug-bpe glm4 chatglm-bpe", (rf"{WORDS}|\p{{N}}{{1,3}}|{MARKS}",)),
    Cut("qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez", (rf"{WORDS}|\p{{N}}|{MARKS}",)),
    Cut("deepseek-coder", (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}")),
    Cut(
        "deepseek-v3",
        (
            r"\p{N}{1,3}",
            "[一-龥\u3040-ゟ゠-ヿ]+",
            r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + LINES,
        ),
    ),
    Cut(
        "tekken",
        (
            rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
            rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{LINES}",
        ),
        True,
        True,
    ),
)


class Vocabulary(NamedTuple):
    """The pieces by id, their types, and the file they are from."""

    file: Gguf
    pieces: list[str]
    types: list[int]

    def id(self, role: str, default: int | None = None) -> int | None:
        """The id of ``tokenizer.ggml.ROLE_token_id``, or None."""
        key = f"tokenizer.ggml.{role}_token_id"
        if key not in self.file.metadata:
            return default if default is not None and default < len(self.pieces) else None
        found = self.file.get(key, int)
        if not 0 <= found < len(self.pieces):
            what = f"{key} is {found}, and there are {len(self.pieces)} tokens"
            raise UserError(what, where=self.file.path, remedy=COPY_AGAIN)
        return found


def tokenizer_of(file: Gguf) -> tuple[Tokenizer, list[str]]:
    """The tokenizer, and what a person should know of it: one sentence each."""
    vocabulary = _vocabulary(file)
    kind = file.get("tokenizer.ggml.model", str)
    if kind not in ("gpt2", "llama"):
        raise UserError(f"tokenizer '{kind}' is not supported", where=file.path, remedy="Supported: gpt2, llama")
    defaults = SENTENCEPIECE_IDS if kind == "llama" else {}
    roles = {name: vocabulary.id(role, defaults.get(name)) for name, role in ROLES.items()}
    if roles["eos_token"] is None:
        file.get("tokenizer.ggml.eos_token_id", int)  # says that it is missing
    core, notes, begin = _byte_level(vocabulary) if kind == "gpt2" else _sentencepiece(vocabulary, roles["unk_token"])
    _add_tokens(core, vocabulary, {i for i in roles.values() if i is not None})
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": file.get("tokenizer.ggml.add_bos_token", bool, begin) and roles["bos_token"] is not None,
        "add_eos_token": file.get("tokenizer.ggml.add_eos_token", bool, False),
        **{name: vocabulary.pieces[i] for name, i in roles.items() if i is not None},
    }
    if "tokenizer.chat_template" in file.metadata:
        config["chat_template"] = file.get("tokenizer.chat_template", str)
    _ends(core, config, roles)
    tokenizer = Tokenizer(core, config, file.path)
    tokenizer, padding = with_padding(tokenizer)
    tokenizer, marks = _with_marks(tokenizer)
    return tokenizer, [note for note in (*notes, padding, marks) if note]


def _vocabulary(file: Gguf) -> Vocabulary:
    """Pieces and types; an empty piece gets a name, as in llama.cpp, and a piece may be there only once."""
    pieces = [piece or f"[EMPTY_{i}]" for i, piece in enumerate(file.get("tokenizer.ggml.tokens", list))]
    types = file.metadata.get("tokenizer.ggml.token_type")
    if types is None:
        types = np.full(len(pieces), NORMAL)
    if not isinstance(types, np.ndarray) or types.size != len(pieces):
        raise UserError(
            f"tokenizer.ggml.token_type is not one number for each of {len(pieces)} tokens", where=file.path
        )
    twice = [piece for piece, times in Counter(pieces).items() if times > 1]
    if twice or not pieces:
        what = f"token {twice[0]!r} has two ids" if twice else "there are no tokens"
        raise UserError(what, where=file.path, remedy=COPY_AGAIN)
    rows = file.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in file.tensors else len(pieces)
    if len(pieces) > rows:
        raise UserError(f"there are {len(pieces)} tokens and {rows} rows in the embedding", where=file.path)
    return Vocabulary(file, pieces, [int(t) for t in types])


def _byte_level(vocabulary: Vocabulary) -> tuple[Any, list[str], bool]:
    """BPE over bytes spelled as letters, as in GPT-2; with notes, and whether a text begins with a token."""
    file, notes = vocabulary.file, []
    name = file.get("tokenizer.ggml.pre", str, "default")
    cut = next((cut for cut in CUTS if name in cut.names.split()), None)
    if cut is None:
        known = ", ".join(name for cut in CUTS for name in cut.names.split())
        raise UserError(f"pre-tokenizer '{name}' is not supported", where=file.path, remedy=f"Supported: {known}")
    if "tokenizer.ggml.pre" not in file.metadata:
        notes.append("the file does not say how text is cut before merging; llama.cpp's default is assumed")
    ids = {piece: i for i, piece in enumerate(vocabulary.pieces)}
    merges = [_pair(merge, ids, file) for merge in file.get("tokenizer.ggml.merges", list)]
    kept = list(dict.fromkeys(merges))  # of a merge that is there twice the first counts
    core = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=kept, ignore_merges=cut.whole_words))
    splits = [pre_tokenizers.Split(Regex(expression), behavior="isolated") for expression in cut.expressions]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, trim_offsets=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([*splits, letters])
    core.decoder = decoders.ByteLevel()
    absent = [f"{byte:02X}" for letter, byte in LETTERS.items() if letter not in ids and byte not in NEVER]
    if absent:
        # The same in llama.cpp and transformers: such a byte is left out without a word.
        notes.append(f"{len(absent)} bytes have no token ({' '.join(absent)}): characters that need them are lost")
    return core, notes, cut.begin


def _pair(merge: str, ids: dict[str, int], file: Gguf) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    if left not in ids or right not in ids or left + right not in ids:
        raise UserError(f"merge {merge!r} is not of tokens of the vocabulary", where=file.path, remedy=COPY_AGAIN)
    return left, right


def _sentencepiece(vocabulary: Vocabulary, unknown: int | None) -> tuple[Any, list[str], bool]:
    """BPE whose merges follow from pieces and scores, with bytes for what has no piece."""
    file, pieces = vocabulary.file, vocabulary.pieces
    scores = file.metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, np.ndarray) or scores.size != len(pieces):
        raise UserError(f"tokenizer.ggml.scores is not one number for each of {len(pieces)} tokens", where=file.path)
    merges, ties = _merges(vocabulary, scores.astype(np.float64))
    ids = {piece: i for i, piece in enumerate(pieces)}
    unk = None if unknown is None else pieces[unknown]
    core = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token=unk, fuse_unk=True, byte_fallback=True))
    prefix = file.get("tokenizer.ggml.add_space_prefix", bool, True)
    replace = normalizers.Replace(" ", SPACE)
    # Prepend and not Metaspace, which adds no space to a text that begins with one: llama.cpp does, and only so
    # does the text come back as it was.
    core.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), replace]) if prefix else replace
    back = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    core.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)] if prefix else back)
    notes = []
    if ties:
        notes.append(
            f"{ties} pieces share a score; where several fit, llama.cpp takes the leftmost and Danlu one of them"
        )
    if sum(kind == BYTE for kind in vocabulary.types) < 256:
        notes.append("not every byte has a piece: characters without one become the unknown token")
    return core, notes, True


def _merges(vocabulary: Vocabulary, scores: Any) -> tuple[list[tuple[str, str]], int]:
    """All ways to make a piece out of two, the best-scored piece first; and how many such pieces share a score."""
    whole = {i for i, kind in enumerate(vocabulary.types) if kind not in (CONTROL, UNKNOWN, BYTE)}
    known = {vocabulary.pieces[i] for i in whole}
    ranked: list[tuple[float, int, str, str]] = []
    for i in whole:
        for left, right in _halves(vocabulary.pieces[i], known):
            ranked.append((-scores[i], len(left), left, right))
    ranked.sort()
    made = {left + right: rank for rank, _, left, right in ranked}
    ties = sum(times for times in Counter(made.values()).values() if times > 1)
    return [(left, right) for _, _, left, right in ranked], ties


def _halves(piece: str, known: set[str]) -> Iterator[tuple[str, str]]:
    for i in range(1, len(piece)):
        if piece[:i] in known and piece[i:] in known:
            yield piece[:i], piece[i:]


def _add_tokens(core: Any, vocabulary: Vocabulary, named: set[int]) -> None:
    """Control tokens become special, a user's own become pieces that no merge cuts."""
    for i, (piece, kind) in enumerate(zip(vocabulary.pieces, vocabulary.types, strict=True)):
        if kind in (CONTROL, UNKNOWN) or i in named or piece in TURN_ENDS:
            core.add_special_tokens([AddedToken(piece, special=True, normalized=False)])
        elif kind == USER_DEFINED:
            core.add_tokens([AddedToken(piece, special=False, normalized=False)])


def _ends(core: Any, config: dict[str, Any], roles: dict[str, int | None]) -> None:
    """What transformers puts around a text; Danlu puts its own."""
    pattern: list[str] = ["$A"]
    special: list[tuple[str, int | None]] = []
    for name, flag in (("bos_token", "add_bos_token"), ("eos_token", "add_eos_token")):
        if config[flag]:
            pattern.insert(0 if name == "bos_token" else len(pattern), config[name])
            special.append((config[name], roles[name]))
    if special:
        core.post_processor = processors.TemplateProcessing(single=pattern, special_tokens=list(dict.fromkeys(special)))


def _with_marks(tokenizer: Tokenizer) -> tuple[Tokenizer, str]:
    """The chat template with the answers marked, or as it is where fine-tuning finds them without."""
    marked = mark_answers(tokenizer)
    if marked is not None:
        return tokenizer.with_config(chat_template=marked), ""
    if tokenizer.chat_template is None:
        return tokenizer, "the file has no chat template"
    try:
        check_template(tokenizer)
    except UserError as error:
        return tokenizer, f"this tokenizer cannot be fine-tuned with as it is: {error.what}"
    return tokenizer, ""
