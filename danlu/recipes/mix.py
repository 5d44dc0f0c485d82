"""Token shards of several sources → a mixture that `danlu pretrain` reads like token shards.

    danlu mix runs/books runs/web --weights 2 1 --budget 50M --out runs/mix
    danlu mix runs/tokens --by input --temperature 2 --max-epochs 4 --budget 50M

The second takes one directory of tokens apart by what `danlu clean` was given (folders, files, packages). What is
written is a plan, a tokenizer and, where shards are taken apart, lists of documents: no token is copied.
"""

import fnmatch
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

import tyro

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError, nearest, require
from danlu.base.files import remove, sha256
from danlu.base.progress import say
from danlu.base.recipe import UNCHANGING
from danlu.recipes.sizes import parse_count
from danlu.text import packages
from danlu.text.mix import Plan, plan
from danlu.tokens.shards import Shards
from danlu.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:  # it needs torch, and --help does not wait for that
    from danlu.tokens.mixture import Mixture, Tokens

STAGE = "mix"
By = Literal["artifact", "input", "source"]
OTHER = "other"  # documents whose source is none of the inputs
MOST_PARTS = 1000  # a part deals rows of its own, and a plan is read by a person


@dataclass(frozen=True)
class Mix:
    """Decide how much of each source of token shards a model reads."""

    tokens: Annotated[tuple[Path, ...], tyro.conf.Positional] = field(metadata=UNCHANGING)
    """Directories that 'danlu tokenize' wrote, all with the same tokenizer."""
    out: Path = field(default=Path("runs/mix"), metadata=UNCHANGING)
    """The directory to write."""
    by: By = "artifact"
    """What counts as a source: each directory, each input of 'danlu clean', or each value of the source column."""
    weights: tuple[float | str, ...] = ()
    """A weight for each source, in the order of the table or as name=weight; 0 leaves one out."""
    temperature: float = 1.0
    """Without weights: 1 keeps the sources' own proportions, more evens them out."""
    max_epochs: float | None = None
    """No source is read more often; what it leaves goes to the others."""
    budget: str = "0"
    """Tokens to train on, such as 50M; 0 is as many as the sources hold."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("tokens", len(self.tokens) > 0, "needs at least one directory of token shards"),
            ("by", self.by in get_args(By), f"must be one of {', '.join(get_args(By))}"),
            ("temperature", self.temperature > 0, "must be above 0"),
            ("max_epochs", self.max_epochs is None or self.max_epochs > 0, "must be above 0"),
        )
        if self.weights and self.temperature != 1.0:
            raise UserError("weights and a temperature cannot both decide", where="recipe", remedy="Give one of them")
        if self.budget != "0":
            parse_count(self.budget, "budget")


class Found(NamedTuple):
    """A source: where it lies, which of its folder's groups it is, and what it holds."""

    name: str
    folder: int
    group: int
    documents: int
    tokens: int


def sources(recipe: Mix) -> dict[str, Path]:
    """What the recipe reads, for the manifest."""
    return {f"tokens {number}": path for number, path in enumerate(recipe.tokens, 1)}


def run(recipe: Mix, *, fresh: bool = False) -> Artifact:
    """Plan, show the plan, and write it into ``recipe.out``; nothing is written where the plan is impossible."""
    started = time.monotonic()
    made = [artifact.load(path, "tokens") for path in recipe.tokens]
    _same_tokenizer(recipe.tokens)
    shards = [Shards.open(path / "train") for path in recipe.tokens]
    groups = [_groups(recipe.by, found, opened) for found, opened in zip(made, shards, strict=True)]
    found = _found(recipe.tokens, shards, groups)
    spent = _plan(recipe, found)
    for line in spent.lines():
        say(line)
    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    try:
        _write(recipe.out, recipe.tokens, shards, groups, found, spent)
    except UserError:
        remove(recipe.out)
        raise
    draft.metrics = {**spent.to_dict(), "seconds": round(time.monotonic() - started, 3)}
    return draft.finish()


def open_training(path: Path) -> "Tokens | Mixture":
    """What to train on: a directory of token shards, or a mixture of several."""
    from danlu.tokens.mixture import Mixture, Tokens

    found = artifact.load(path)
    return Mixture.open(path) if found.stage == STAGE else Tokens.open(artifact.load(path, "tokens").path)


def _same_tokenizer(paths: Sequence[Path]) -> None:
    """Ids of two tokenizers mean different things."""
    digests = [sha256(path / "tokenizer" / "tokenizer.json") for path in paths]
    for path, digest in zip(paths, digests, strict=True):
        if digest != digests[0]:
            remedy = "Run 'danlu tokenize' on both with the same --tokenizer"
            raise UserError(f"has another tokenizer than {paths[0]}", where=path, remedy=remedy)


class Groups(NamedTuple):
    """The groups of one directory: their names, and for each of its sources the number of its group."""

    names: list[str]
    of_source: list[int]


def _groups(by: By, made: Artifact, shards: Shards) -> Groups | None:
    """How the documents of one directory fall into sources; None: they are all one."""
    if by == "artifact":
        return None
    labels = shards.sources if by == "source" else [_input_of(s, _inputs(made)) for s in shards.sources]
    names = list(dict.fromkeys(labels))
    if len(names) > MOST_PARTS:
        remedy = "Use --by input, or clean and tokenize what belongs together in a directory of its own"
        raise UserError(f"{len(names)} sources are too many to mix", where=made.path, remedy=remedy)
    numbers = {name: number for number, name in enumerate(names)}
    return Groups(names, [numbers[label] for label in labels])


def _inputs(made: Artifact) -> list[str]:
    """What 'danlu clean' was given when it made the documents of these tokens."""
    cleaned = artifact.find((made.path / made.manifest["inputs"]["data"]["path"]).resolve())
    inputs = cleaned.manifest["recipe"].get("inputs") if cleaned else None
    if not inputs:
        remedy = "Use --by source, or put back the directory that 'danlu clean' wrote"
        raise UserError(
            "the documents it was made from are gone, and with them their inputs", where=made.path, remedy=remedy
        )
    return [str(given) for given in inputs]


def _input_of(source: str, inputs: Sequence[str]) -> str:
    """The input that a document's source belongs to; of nested folders the inner one."""
    for given in sorted(inputs, key=len, reverse=True):
        path = given if packages.is_package(given) else str(Path(given).expanduser())
        here = path == "." and not source.startswith(("/", packages.PREFIX))
        if here or source in (given, path) or source.startswith(f"{path}/") or fnmatch.fnmatchcase(source, path):
            return given
    return OTHER


def _found(paths: Sequence[Path], shards: Sequence[Shards], groups: Sequence[Groups | None]) -> list[Found]:
    """Every source with its size, under the shortest name that tells it from the others."""
    from danlu.tokens.mixture import measure_groups

    labels: list[str] = []
    rows: list[tuple[int, int, int, int]] = []
    for number, (path, opened, group) in enumerate(zip(paths, shards, groups, strict=True)):
        if group is None:
            labels.append(str(path.resolve()))
            rows.append((number, 0, len(opened), opened.tokens))
            continue
        documents, tokens = measure_groups(opened, group.of_source, len(group.names))
        labels += [f"{path.resolve()}/{name.rstrip('/')}" for name in group.names]
        rows += [(number, g, documents[g], tokens[g]) for g in range(len(group.names))]
    return [Found(name, *row) for name, row in zip(short_names(labels), rows, strict=True)]


def short_names(paths: Sequence[str]) -> list[str]:
    """For each path its last parts, as many as tell it from all others; equal paths are numbered."""
    parts = [[part for part in path.split("/") if part] or [path] for path in paths]
    taken = [1] * len(parts)
    while True:
        names = ["/".join(p[-n:]) for p, n in zip(parts, taken)]
        seen = Counter(names)
        grow = [i for i, name in enumerate(names) if seen[name] > 1 and taken[i] < len(parts[i])]
        if not grow:
            break
        for i in grow:
            taken[i] += 1
    copies: Counter[str] = Counter()
    for i, name in enumerate(names):
        copies[name] += 1
        names[i] = name if copies[name] == 1 else f"{name} ({copies[name]})"
    return names


def _plan(recipe: Mix, found: Sequence[Found]) -> Plan:
    sizes = {item.name: item.tokens for item in found}
    weights = _weights(recipe.weights, list(sizes)) if recipe.weights else None
    whole = sum(size for name, size in sizes.items() if weights is None or weights.get(name))
    budget = whole if recipe.budget == "0" else parse_count(recipe.budget, "budget")
    return plan(sizes, budget, weights=weights, temperature=recipe.temperature, max_epochs=recipe.max_epochs)


def _weights(given: Sequence[float | str], names: list[str]) -> dict[str, float]:
    """``2 1`` in the order of the sources, or ``books=2 web=1`` in any."""
    if all(isinstance(item, float | int) for item in given):
        if len(given) != len(names):
            what = f"{len(given)} weights for {len(names)} sources ({', '.join(names[:8])})"
            raise UserError(what, where="recipe: weights", remedy="Give one for each, or write name=weight")
        return {name: float(item) for name, item in zip(names, given, strict=True)}
    weights: dict[str, float] = {}
    for item in map(str, given):
        name, separator, value = item.rpartition("=")
        try:
            weight = float(value)
        except ValueError:
            separator, weight = "", 0.0
        if not separator:
            remedy = "Write numbers only, or name=weight for each"
            raise UserError(f"'{item}' is not a weight", where="recipe: weights", remedy=remedy)
        if name not in names:
            raise UserError(f"there is no source '{name}'", where="recipe: weights", remedy=nearest(name, names))
        weights[name] = weight
    return weights


def _write(
    out: Path,
    paths: Sequence[Path],
    shards: Sequence[Shards],
    groups: Sequence[Groups | None],
    found: Sequence[Found],
    spent: Plan,
) -> None:
    from danlu.tokens.mixture import documents_file, list_groups, save_mixture

    Tokenizer.load(paths[0] / "tokenizer").save(out / "tokenizer")
    for number, (opened, group) in enumerate(zip(shards, groups, strict=True)):
        if group is not None:
            sizes = [item.documents for item in found if item.folder == number]
            list_groups(opened, group.of_source, sizes, out / documents_file(number))
    begins: Counter[int] = Counter()
    parts: list[dict[str, Any]] = []
    for item in found:
        begin, end = begins[item.folder], begins[item.folder] + item.documents
        begins[item.folder] = end
        documents = None if groups[item.folder] is None else [begin, end]
        share = spent.shares[item.name]
        parts.append(
            {"name": item.name, "share": share, "size": item.tokens, "folder": item.folder, "documents": documents}
        )
    save_mixture(out, paths, shards, parts, spent.budget)
