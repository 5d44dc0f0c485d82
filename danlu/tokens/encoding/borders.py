"""Where a text may be cut so that the ids of its pieces, one after another, are the ids of the whole.

A byte-level BPE tokenizer first splits a text into words by regular expressions, then merges inside each word. If no
word can reach over a place, and the words on either side do not depend on the other, the text may be cut there; and a
piece that comes again has the ids that it had before. Three kinds of place are cut, in prose as in code:

* before a space, if something that is not blank stands before it;
* before any blank, if a letter or digit stands before it (of ASCII, or a common Chinese one: nobody doubts these);
* before a mark that is no apostrophe, if such a letter or digit stands before it.

That no word reaches over them is read from the expressions themselves, alternative by alternative: a blank may stand
only at the beginning of a word, in a word of nothing but blanks, or (line breaks) behind marks, and a mark only where
no letter comes before it. The splitting of GPT-2, GPT-4, Llama 3, Qwen, SmolLM2 and of our own
(`danlu.tokens.training.train`) is of this kind. A tokenizer with anything else in it (a normaliser other than NFC,
which composes nothing with a blank or such a mark; words that depend on where they stand) is not cut. Nor is a text
that spells a token which was added whole.
"""

import re
from typing import Any

BLANK = r"\t-\r\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space, but for two
_UNSURE = r"\x1c-\x1f\x85\u180e\u200b\ufeff"  # blank to some engines: nothing is cut beside them
_ANY, _INK = rf"[ {BLANK}{_UNSURE}]", rf"[^ {BLANK}{_UNSURE}]"
HAN = r"\u4e00-\u9fa5"  # what Unicode had in its first version: Chinese to every engine
LETTER = rf"A-Za-z0-9{HAN}"
MARK = (
    r"!-&(-/:-@\[-`{-~\u00b7\u2014\u201c\u201d\u2026\u3001\u3002\u300a-\u300f\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
)
# A piece: blanks, then what is not blank and no mark behind a letter, and on over those blanks that are no place to
# cut. The first alternative says nothing new, but is what most of a text is, and halves the time.
_WORD = rf"(?:[^ {BLANK}{_UNSURE}{MARK}]+|(?<![{LETTER}])[{MARK}])"
_PIECE = (
    rf" ?[{LETTER}]++(?![^ {BLANK}{MARK}])|"
    rf"{_ANY}*{_INK}{_WORD}*(?:(?:(?<![{LETTER}])[{BLANK}]|[{_UNSURE}]){_ANY}*(?:{_INK}{_WORD}*)?)*|{_ANY}+"
)
PIECE = re.compile(_PIECE)


def piece_also(open_: str, closed: str, marks: str) -> "re.Pattern[str]":
    """`PIECE`, cut before Chinese as well where a character of the classes ``closed`` or ``marks`` stands before it.

    ``open_`` and ``closed`` are all Chinese characters, ``marks`` some of the marks; each may be empty.
    """
    before = f"[{closed}{marks}]"
    word = rf"(?:[^ {BLANK}{_UNSURE}{MARK}{HAN}]+|(?<!{before})[{HAN}]|(?<![{LETTER}])[{MARK}])"
    ends = [rf" ?[A-Za-z0-9]++(?![^ {BLANK}{MARK}])"]
    ends += [rf"{f'[{open_}]*' if open_ else ''}[{closed}](?![^{HAN} {BLANK}{MARK}])"] if closed else []
    ends += [rf"[{marks}](?=[{HAN}])"] if marks else []
    rest = _PIECE.partition("|")[2].replace(_WORD, word)
    return re.compile("|".join([*ends, rest])) if closed or marks else PIECE


MOST_ADDED = 100  # beyond, looking for them costs more than cutting saves
_KIND = r"\\p\{(?:Han|L[ultmo]?|M[nce]?|N[dlo]?)\}"  # none of these holds a blank or a mark
_COUNT = r"(?:[+*?]\+?|\{\d+(?:,\d*)?\})?"
_LETTERS = rf"(?:(?:{_KIND}|\[(?:{_KIND})+(?:&&\[\^(?:{_KIND})+\])?\]){_COUNT})+"
_ENDING = r"\(\?i:'(?:[a-z'|]|\[[a-z]+\])+\)\??|'\(\?i:[a-z|\[\]]+\)\??|'[a-z]+"  # all begin with the apostrophe
_BEFORE = rf"(?: \?\+?|\[\^(?:\\[rn]){{2}}(?:{_KIND})*\]\?\+?)?"
_NOT_WORD = rf"\[\^(?=[^\]]*\\p\{{L\}})(?=[^\]]*\\p\{{N\}})(?=[^\]]*\\s)(?:\\s|{_KIND})+\]"
_MARKS = rf"(?: \?)?{_NOT_WORD}{_COUNT}(?:\[(?:\\[rn]|/)+\]\*\+?)?"
_BLANKS = r"\\s\*(?:\[(?:\\[rn])+\]\+?|\\n)|\\s\+\(\?!\\S\)"
_ALL_BLANKS = r"\s+"  # with it, a word begins at every blank that no other word holds
_SAFE = re.compile(rf"{_BEFORE}{_LETTERS}(?:{_ENDING})?|{_ENDING}|{_MARKS}|{_BLANKS}|\\s\+")
# Alternatives that match a run of Chinese whole, and those that match none of it.
_WHOLE_RUN = re.compile(rf"{_BEFORE}(?:\\p\{{L\}}|\[(?:{_KIND})*\\p\{{L\}}(?:{_KIND})*\])\+\+?")
_NO_RUN = re.compile(
    rf"{_BEFORE}(?:\\p\{{N[dlo]?\}}|\[(?:{_KIND})+&&\[\^\\p\{{Han\}}\]\]){_COUNT}|{_ENDING}|{_MARKS}|{_BLANKS}|\\s\+"
)
_WHOLE_WORD = re.compile(
    rf"(?: |\[\^(?:\\[rn]){{2}}(?:{_KIND})*\])\?\+?"
    rf"(?:\\p\{{L\}}|\[(?:{_KIND})*\\p\{{L\}}(?:{_KIND})*(?:&&\[\^\\p\{{Han\}}\])?\])\+\+?"
)
_BOUNDED_RUN = re.compile(r"\\p\{Han\}\{1,(\d+)\}")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def cuttable(tokenizer: dict[str, Any]) -> bool:
    """May texts be cut into `PIECE`s for the tokenizer whose ``tokenizer.json`` this is, but for those with `added`?"""
    model, normalizer = tokenizer["model"], tokenizer.get("normalizer")
    whole = model["type"] == "BPE" and not any(
        model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    )
    found = [token for token in tokenizer.get("added_tokens", ()) if not token["special"]]
    return (
        whole
        and (normalizer is None or normalizer["type"] == "NFC")
        # NFC makes a K of the sign for kelvin, so a token might be spelled where nobody sees it.
        and not (normalizer and any(token["normalized"] for token in found))
        and len(found) <= MOST_ADDED
        and _splits_at_blanks(tokenizer.get("pre_tokenizer") or {"type": "none"})
    )


def added(tokenizer: dict[str, Any]) -> list[str]:
    """The tokens that are looked for in a text before it is split. Special ones are not: text is text."""
    return [token["content"] for token in tokenizer.get("added_tokens", ()) if not token["special"]]


def _stages(splitter: dict[str, Any]) -> list[list[str]] | None:
    """The alternatives of each stage of splitting; None if one of them is of another kind."""
    found, stages = (
        list[list[str]](),
        splitter["pretokenizers"] if splitter["type"] == "Sequence" else [splitter],
    )
    for stage in stages:
        kind = stage["type"]
        if (
            kind == "ByteLevel" and not stage["add_prefix_space"] and stage is stages[-1]
        ):  # what follows would see no text
            found.append(alternatives(GPT2) if stage["use_regex"] else [])
        elif kind == "Split" and (stage["behavior"], stage["invert"]) == (
            "Isolated",
            False,
        ):
            found.append(alternatives(stage["pattern"].get("Regex", "a string")))  # which is no safe expression
        elif kind != "Digits":
            return None
    return found


def _splits_at_blanks(splitter: dict[str, Any]) -> bool:
    """Does no word reach over a place where texts are cut, and does one begin there?"""
    stages = _stages(splitter) or []
    return all(_SAFE.fullmatch(part) for stage in stages for part in stage) and any(_ALL_BLANKS in s for s in stages)


def words_are_whole(tokenizer: dict[str, Any]) -> bool:
    """Is a run of ASCII letters, with the space before it, always one word?"""
    splitter = tokenizer["pre_tokenizer"]
    found = [part for stage in _stages(splitter) or [] for part in stage]
    spelled = splitter.get("pretokenizers", [splitter])[-1]["type"] == "ByteLevel"
    others = [part for part in found if not (_NO_RUN.fullmatch(part) or _BOUNDED_RUN.fullmatch(part))]
    own = [part for part in found if _WHOLE_WORD.fullmatch(part)]
    return spelled and len(own) == 1 and set(others) <= set(own) and tokenizer.get("normalizer") is None


def longest_run(tokenizer: dict[str, Any]) -> int | None:
    """The most Chinese characters in a word, counted from the beginning of their run; 0: any number; None: unknown."""
    splitter, found = tokenizer["pre_tokenizer"], set[int]()
    for part in (part for stage in _stages(splitter) or [] for part in stage):
        if bounded := _BOUNDED_RUN.fullmatch(part):
            found.add(int(bounded[1]))
        elif _WHOLE_RUN.fullmatch(part):
            found.add(0)
        elif not _NO_RUN.fullmatch(part):
            return None
    spelled = splitter.get("pretokenizers", [splitter])[-1]["type"] == "ByteLevel"
    return found.pop() if spelled and len(found) == 1 and not tokenizer["model"].get("ignore_merges") else None


def alternatives(pattern: str) -> list[str]:
    """A regular expression cut at the bars that stand in no bracket and no parenthesis."""
    parts, depth, escaped, inside = [""], 0, False, 0
    for character in pattern:
        if not escaped:
            inside += (character == "[") - (character == "]")
            depth += (not inside) * ((character == "(") - (character == ")"))
        if character == "|" and not (escaped or depth or inside):
            parts.append("")
        else:
            parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts
