"""A model and text in a new language → the model with a vocabulary for it, ready to be trained on.

    danlu tokenizer extend runs/smollm2 --corpus zh/ --add 8000 --out runs/smollm2-zh

The pieces are learned on the corpus, on top of the model's own; old text keeps its ids. The weights are copied as
bytes with rows for the new ids in the embeddings, so any family will do, and memory does not grow with the model.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.files import existing, write_text
from danlu.base.progress import count, say
from danlu.base.recipe import UNCHANGING
from danlu.model.embedding_init import Init
from danlu.recipes.corpus import Corpus
from danlu.recipes.tokenize import stage
from danlu.tokens.extending.extend import Extension, Limits, core_of, extend, kind_of, size_of, with_special
from danlu.tokens.extending.extend_sentencepiece import MODEL
from danlu.tokens.extending.note import EXTENSION

if TYPE_CHECKING:
    from danlu.model.grow import Found, Rows, Tensor

STAGE = "extend"
TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
# What is taken over as it is; weights and the files of the tokenizer are written anew
KEPT = ("generation_config.json", "special_tokens_map.json", "chat_template.jinja", "LICENSE", "LICENSE.txt", "NOTICE")
MEASURED_BYTES = 1_000_000  # of the validation side
VECTOR_BYTES = 8_000_000  # of the text that FOCUS trains its vectors on: two minutes of it on one slow core


@dataclass(frozen=True)
class Extend:
    """Add pieces for a new language to a model's tokenizer, and rows for them to its embeddings."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = field(metadata=UNCHANGING)
    """A Hugging Face directory: weights in safetensors, a BPE tokenizer with all bytes."""
    corpus: tuple[str, ...] = field(default=(), metadata=UNCHANGING)
    """Text to learn from: what 'danlu clean' wrote, or files, folders, patterns and package:NAME as they are."""
    out: Path = field(default=Path("runs/extend"), metadata=UNCHANGING)
    """The directory to write."""
    add: int = 8000
    """The most pieces to add."""
    init: Init = "subword"
    """First values of their rows: mean, subword, covariance, noise, random or focus."""
    longest: int = 8
    """The longest piece, in characters; in Chinese, where no spaces part words, this is what bounds a piece."""
    min_count: int = 8
    """A pair seen less often than this in the sample is never made a piece."""
    ascii: bool = False
    """Learn pieces of ASCII letters and signs too; without them English and code keep every id."""
    special: tuple[str, ...] = ()
    """Special tokens to add besides."""
    sample_bytes: int = 32_000_000
    """Learn from at most so much text, taken evenly."""
    pad_to: int = 1
    """Round the rows of the embeddings up to a multiple of this, such as 64 for some kernels."""
    seed: int = 0
    """Of what is drawn at random."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        for key, valid, rule in (
            ("add", self.add >= 0, "must be at least 0"),
            ("longest", self.longest >= 1, "must be at least 1"),
            ("min_count", self.min_count >= 1, "must be at least 1"),
            ("sample_bytes", self.sample_bytes >= 1, "must be at least 1"),
            ("pad_to", self.pad_to >= 1, "must be at least 1"),
        ):
            if not valid:
                raise UserError(f"{rule}, found {getattr(self, key)!r}", where=f"recipe: {key}")
        if not self.add and not self.special:
            raise UserError("there is nothing to add", where="recipe: add", remedy="Give --add or --special")

    @property
    def limits(self) -> Limits:
        """What may become a piece."""
        return Limits(self.add, self.longest, self.min_count, self.ascii)


def sources(recipe: Extend) -> dict[str, Path]:
    """What the stage reads, for the manifest; a `UserError` if it is to write there too."""
    a, b = recipe.model.resolve(), recipe.out.resolve()
    if a == b or a in b.parents or b in a.parents:
        raise UserError(f"overlaps the input {recipe.model}", where=recipe.out, remedy="Choose another --out")
    found = {"model": recipe.model}
    if recipe.corpus:
        corpus = Corpus(recipe.corpus)
        corpus.apart_from(recipe.out)
        found |= corpus.sources()
    return found


def run(recipe: Extend, *, fresh: bool = False) -> Artifact:
    """Write the extended model; a run that bad input ended leaves nothing behind."""
    from danlu.model.grow import check_whole, find_tables, grow, new_size
    from danlu.model.hub import is_adapter

    if is_adapter(recipe.model):
        remedy = f"Merge it into its base first: danlu merge {recipe.model} --out DIR"
        raise UserError("holds an adapter, whose rows are its base's", where=recipe.model, remedy=remedy)
    config = _json(existing(recipe.model / "config.json", remedy="Give a model directory"))
    data, proto = read_tokenizer(recipe.model)
    found = find_tables(recipe.model, config)
    ids, rows = size_of(data), found.input.shape[0]
    if ids > rows:
        what = f"the tokenizer has {ids} ids and the embedding {rows} rows"
        raise UserError(what, where=recipe.model, remedy="Use the tokenizer that the model was trained with")
    if recipe.add and not recipe.corpus:
        raise UserError("needs text to learn from", where="recipe: corpus", remedy="Give --corpus")
    check_whole(recipe.model)

    def work() -> dict[str, Any]:
        learned, measured = texts(recipe)
        made, measures = learn(recipe, data, learned, measured)
        wanted = new_size(rows, ids + len(made.pieces), recipe.pad_to)
        fill = _filler(recipe, found, made, ids, float(config.get("initializer_range") or 0.02), learned)
        size = grow(recipe.model, recipe.out, found, wanted, ids, fill)
        _write(recipe.out / "config.json", resized(config, rows, wanted))
        write_tokenizer(recipe, made, proto)
        _write(recipe.out / EXTENSION, {"old_vocab": ids, "added": len(made.pieces), "init": recipe.init})
        say(f"  {len(made.pieces)} pieces added to {ids}; {made.existing} candidates were pieces already")
        say(f"  {rows} rows became {wanted}, initialised by {recipe.init}")
        return {"vocab_size": ids + len(made.pieces), "added": len(made.pieces), "existing": made.existing,
                "rows": wanted, "rows_before": rows, "bytes": size, **measures}  # fmt: skip

    return stage(STAGE, recipe, sources(recipe), work, fresh)


def read_tokenizer(path: Path) -> tuple[dict[str, Any], Any]:
    """The ``tokenizer.json`` of a model directory, made from ``tokenizer.model`` where that is all; and the latter."""
    from danlu.tokens.extending.extend_sentencepiece import read_proto, tokenizer_json

    proto = None
    if (path / TOKENIZER).is_file():
        data = _json(path / TOKENIZER)
        kind = kind_of(data, path / TOKENIZER)
        try:
            core_of(data)
        except Exception as error:  # the library raises nothing narrower
            raise UserError(f"not a readable tokenizer ({error})", where=path / TOKENIZER) from None
        if kind == "byte fallback" and (path / MODEL).is_file():
            proto = read_proto(path / MODEL)
        return data, proto
    if not (path / MODEL).is_file():
        raise UserError("holds no tokenizer", where=path, remedy=f"A model directory has {TOKENIZER} or {MODEL}")
    proto = read_proto(path / MODEL)
    return tokenizer_json(proto), proto


def texts(recipe: Extend) -> tuple[list[str], list[str]]:
    """What to learn from, and what to measure on: the validation side, or the same where that is empty."""
    if not recipe.add:
        return [], []
    corpus = Corpus(recipe.corpus)
    learned = thinned((document.text for document in corpus.documents("train")), recipe.sample_bytes)
    measured = thinned((document.text for document in corpus.documents("validation")), MEASURED_BYTES)
    if not any(text.strip() for text in (*learned, *measured)):
        raise UserError("the corpus holds no text", where=", ".join(recipe.corpus), remedy="Check what is in it")
    learned = learned or measured
    return learned, measured or learned


def thinned(documents: Iterable[str], limit: int) -> list[str]:
    """At most ``limit`` bytes in one pass: every document, or every second, every fourth, and so on."""
    kept: list[tuple[str, int]] = []
    step, size = 1, 0
    for index, text in enumerate(documents):
        if index % step:
            continue
        kept.append((text, len(text.encode())))
        size += kept[-1][1]
        while size > limit and len(kept) > 1:
            kept, step = kept[::2], step * 2
            size = sum(held for _, held in kept)
    if size > limit:
        return [kept[0][0].encode()[:limit].decode(errors="ignore")]
    return [text for text, _ in kept]


def learn(
    recipe: Extend, data: dict[str, Any], learned: list[str], measured: list[str]
) -> tuple[Extension, dict[str, Any]]:
    """The new tokenizer, and how many ids a character takes before and after."""
    from danlu.tokens.extending import extend_sentencepiece

    where, old = recipe.model / TOKENIZER, core_of(data)
    data, special = with_special(data, recipe.special, where)
    made = Extension(data, [], 0)
    if recipe.add:
        bytewise = kind_of(data, where) == "byte-level"
        made = extend(data, learned, recipe.limits, where) if bytewise else extend_sentencepiece.extend(
            data, learned, recipe.limits
        )  # fmt: skip
        if not made.pieces:
            there = f" (candidates that are pieces already: {made.existing})" if made.existing else ""
            raise UserError(f"no new piece was found in the corpus{there}", where=", ".join(recipe.corpus),
                            remedy="Give more text, or a lower --min-count")  # fmt: skip
    made = made._replace(pieces=[*special, *made.pieces])
    if not measured:
        return made, {}
    characters = max(sum(map(len, measured)), 1)
    before, after = (_tokens(core, measured) / characters for core in (old, core_of(made.data)))
    held_out = "the corpus itself" if measured is learned else "held-out documents"
    say(f"  {before:.3f} tokens a character before, {after:.3f} after, on {held_out}")
    found = {"tokens_per_character_before": round(before, 4), "tokens_per_character": round(after, 4)}
    return made, found | {"measured_on": held_out}


def _tokens(core: Any, measured: Sequence[str]) -> int:
    return sum(len(encoding.ids) for encoding in core.encode_batch(measured, add_special_tokens=False))


def _filler(recipe: Extend, found: "Found", made: Extension, ids: int, spread: float, learned: list[str]) -> Any:
    """What gives `grow` the new rows of each table; a copy of the input's gets the same rows."""
    import numpy as np

    from danlu.model import focus
    from danlu.model.embedding_init import initial_rows, mean_row
    from danlu.model.grow import Table

    parts, weights = [piece.parts for piece in made.pieces], []
    if recipe.init == "focus":
        core, sample = core_of(made.data), thinned(learned, VECTOR_BYTES)
        encoded = [np.array(e.ids, np.int32) for e in core.encode_batch(sample, add_special_tokens=False)]
        vectors = focus.vectors(encoded, seed=recipe.seed)
        weights = focus.weights(vectors, [piece.id for piece in made.pieces], ids)
        say(f"  {sum(len(chosen) > 0 for chosen, _ in weights)} pieces have a vector, of {count(len(parts))}")

    def fill(tensor: "Tensor") -> "Rows":
        if found.bias is not None and tensor.name == found.bias.name:
            flat = Table(tensor._replace(shape=(tensor.shape[0], 1)), ids)
            return np.full(len(parts), mean_row(flat)[0], np.float32)
        source = found.input if tensor in found.copies else tensor
        return initial_rows(recipe.init, Table(source, ids), parts, seed=recipe.seed, spread=spread, weights=weights)

    return fill


def resized(config: dict[str, Any], old: int, new: int) -> dict[str, Any]:
    """``config.json`` with as many rows as there are now, in itself and in its text part."""
    changed = dict(config)
    if changed.get("vocab_size") == old:
        changed["vocab_size"] = new
    if isinstance(changed.get("text_config"), dict):
        changed["text_config"] = resized(changed["text_config"], old, new)
    return changed


def write_tokenizer(recipe: Extend, made: Extension, proto: Any) -> None:
    """Every file of the tokenizer that the model had, saying the same; the rest as it was."""
    source, out, model = recipe.model, recipe.out, made.data["model"]
    _write(out / TOKENIZER, made.data)
    settings = _json(source / CONFIG) if (source / CONFIG).is_file() else _settings(proto)
    new = made.pieces[: len(recipe.special)]
    if isinstance(settings.get("added_tokens_decoder"), dict):
        entries = {t["id"]: {k: v for k, v in t.items() if k != "id"} for t in made.data["added_tokens"]}
        settings["added_tokens_decoder"] |= {str(piece.id): entries[piece.id] for piece in new}
    _write(out / CONFIG, settings)
    if proto is not None:
        from danlu.tokens.extending.extend_sentencepiece import write_model

        write_model(proto, out / MODEL, made.data, made.pieces)
    if (source / "vocab.json").is_file() and proto is None:
        names = {token["content"] for token in made.data["added_tokens"]} - set(_json(source / "vocab.json"))
        write_text(out / "vocab.json", json.dumps({p: i for p, i in model["vocab"].items() if p not in names}))
        lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        write_text(out / "merges.txt", "\n".join(["#version: 0.2", *lines]) + "\n")
    for name in KEPT:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def _settings(proto: Any) -> dict[str, Any]:
    """``tokenizer_config.json`` of a model that came with ``tokenizer.model`` alone."""
    trainer = getattr(proto, "trainer_spec", None)
    names = (("bos_token", "bos_piece"), ("eos_token", "eos_piece"), ("unk_token", "unk_piece"))
    found = {ours: getattr(trainer, theirs) for ours, theirs in names if trainer is not None}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **found}


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"not valid JSON ({error})", where=path) from None
    if not isinstance(values, dict):
        raise UserError(f"expected keys and values, found {type(values).__name__}", where=path)
    return values


def _write(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
