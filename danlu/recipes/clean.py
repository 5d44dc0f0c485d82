"""Raw files → clean documents: read, extract, normalise, judge, deduplicate, split.

    danlu clean books/ notes.md package:sanguo --out runs/clean
    danlu clean crawl/*.warc.gz --preset web-en --out runs/clean
    danlu clean --explain page.html --preset web-en

leaves ``train/*.parquet``, ``validation/*.parquet``, ``funnel.json``, which accounts for every document that came in,
and ``report.html``. ``steps`` names what is done, in order; the settings of each step stand under its own name, and a
preset (`danlu.recipes.presets`) is nothing but other values of the same keys.
"""

import json
import time
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError, nearest, require
from danlu.base.files import remove, write_text
from danlu.base.progress import count, say
from danlu.base.recipe import UNCHANGING
from danlu.text import packages
from danlu.text.chinese import Chinese
from danlu.text.corpus import CorpusStep
from danlu.text.decontaminate import Decontaminate
from danlu.text.dedup.exact import Exact
from danlu.text.dedup.lines import Lines
from danlu.text.dedup.minhash import MinHash
from danlu.text.dedup.simhash import SimHash
from danlu.text.dedup.substring import Substring
from danlu.text.document import Step
from danlu.text.extract import Extract
from danlu.text.filters import fineweb as fineweb_rules
from danlu.text.filters import gopher_quality as gopher_quality_rules
from danlu.text.filters import gopher_repetition as gopher_repetition_rules
from danlu.text.filters.advertising import Advertising
from danlu.text.filters.c4 import C4Paragraphs, C4Quality
from danlu.text.filters.fineweb import FineWebQuality
from danlu.text.filters.garbled import Garbled
from danlu.text.filters.gopher_quality import GopherQuality
from danlu.text.filters.gopher_repetition import GopherRepetition
from danlu.text.filters.language import Language
from danlu.text.filters.length import Length
from danlu.text.filters.perplexity import Perplexity, PerplexityBatches
from danlu.text.filters.quality import Quality
from danlu.text.filters.top_share import Bands, TopShare
from danlu.text.filters.toxicity import Toxicity, ToxicWords
from danlu.text.filters.url import UrlFilter
from danlu.text.normalize import Normalize
from danlu.text.read import Reading, resolve
from danlu.text.redact.redact import Redact
from danlu.text.report import Funnel
from danlu.text.spelling import Spelling
from danlu.text.terms import Terms

PROBLEMS_SHOWN = 5
MODELS = ("quality", "toxicity", "perplexity")  # steps that need a model named


@dataclass(frozen=True)
class Clean:
    """Turn raw files into clean documents."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Files, folders, patterns such as 'data/*.txt', or package:NAME for text that an installed package ships."""
    out: Path = field(default=Path("runs/clean"), metadata=UNCHANGING)
    """The directory to write."""
    steps: tuple[str, ...] = ("extract", "normalize", "length", "exact")
    """What is done to each document, in this order; every group of settings below is one of the names."""
    without: tuple[str, ...] = ()
    """Of these steps, the ones to leave out: shorter than a preset's whole list without them."""
    validation_share: float = 0.02
    """The share of documents held out for validation, at least one document if it is above 0."""
    seed: int = 0
    """Which documents those are."""
    rejects: bool = False
    """Write the dropped documents too, to rejects/REASON."""
    report: bool = True
    """Count languages, sources, domains, lengths and people's words, and write report.html."""
    engine: Literal["local", "ray"] = field(default="local", metadata=UNCHANGING)
    """Worker processes of this machine, or a Ray cluster whose nodes see the same files. The result is the same."""
    address: str = field(default="", metadata=UNCHANGING)
    """Of the Ray cluster, such as 'auto' or 'ray://head:10001'; unset starts one on this machine."""
    workers: int = field(default=0, metadata=UNCHANGING)
    """Tasks at a time; 0 is one for each core, or none for a few megabytes, which this process does itself."""
    task_megabytes: float = 64.0
    """About how much input makes a task: what is lost at most when a worker dies, and a file of the output."""
    document_seconds: float = field(default=300.0, metadata=UNCHANGING)
    """A document that takes longer ends its worker, and after two such ends is set aside."""
    explain: Path | None = field(default=None, metadata=UNCHANGING)
    """Show what each step does with the first documents of this file, and write nothing."""
    reading: Reading = Reading()
    """Columns, encodings and limits of what is read."""
    url: UrlFilter = UrlFilter()
    """Drop pages by their address."""
    extract: Extract = Extract()
    """HTML to text."""
    language: Language = Language()
    """Tell the language, and keep the wanted ones."""
    normalize: Normalize = Normalize()
    """One spelling for the same text."""
    chinese: Chinese = Chinese()
    """Between Traditional and Simplified."""
    terms: Terms = Terms()
    """Terms and names written one way, by a table."""
    spelling: Spelling = Spelling()
    """Spelling correction."""
    length: Length = Length()
    """Too short, too long."""
    garbled: Garbled = Garbled()
    """Damaged encodings and random characters."""
    advertising: Advertising = Advertising()
    """Advertising and templates."""
    gopher_repetition: GopherRepetition = GopherRepetition()
    """Gopher's rules on repetition (Rae et al. 2021)."""
    gopher_quality: GopherQuality = GopherQuality()
    """Gopher's rules on quality (Rae et al. 2021)."""
    c4: C4Quality = C4Quality()
    """C4's rules (Raffel et al. 2020)."""
    c4_paragraphs: C4Paragraphs = C4Paragraphs()
    """mC4's rule on paragraphs (Xue et al. 2021)."""
    fineweb: FineWebQuality = FineWebQuality()
    """FineWeb's rules (Penedo et al. 2024)."""
    gopher_repetition_zh: GopherRepetition = gopher_repetition_rules.mandarin()
    """The same with FineWeb-2's thresholds for Mandarin."""
    gopher_quality_zh: GopherQuality = gopher_quality_rules.mandarin()
    """The same with FineWeb-2's thresholds for Mandarin."""
    fineweb_zh: FineWebQuality = fineweb_rules.mandarin()
    """The same with FineWeb-2's thresholds for Mandarin."""
    quality: Quality = Quality()
    """A classifier's judgement."""
    toxicity: Toxicity = Toxicity()
    """A classifier's judgement of toxicity."""
    toxic_words: ToxicWords = ToxicWords()
    """Lists of toxic words."""
    perplexity: Perplexity = Perplexity()
    """A language model's judgement."""
    top_share: TopShare = TopShare()
    """Keep the best share by a number that another step wrote down."""
    bands: Bands = Bands()
    """Sort into bands by such a number, as CCNet does by perplexity, and keep some."""
    redact: Redact = Redact()
    """Private data."""
    exact: Exact = Exact()
    """Copies."""
    minhash: MinHash = MinHash()
    """Near-duplicates, by MinHash."""
    simhash: SimHash = SimHash()
    """Near-duplicates, by SimHash."""
    substring: Substring = Substring()
    """Long passages that stand elsewhere already."""
    lines: Lines = Lines()
    """Lines or paragraphs that stand in many documents."""
    decontaminate: Decontaminate = Decontaminate()
    """Documents that hold items of evaluation sets."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        require(
            self,
            ("validation_share", 0 <= self.validation_share < 1, "must be at least 0 and below 1"),
            ("workers", self.workers >= 0, "must be at least 0"),
            ("task_megabytes", self.task_megabytes > 0, "must be above 0"),
            ("document_seconds", self.document_seconds > 0, "must be above 0"),
        )
        names = [f.name for f in fields(self) if is_dataclass(getattr(self, f.name)) and f.name != "reading"]
        for key in ("steps", "without"):
            for name in getattr(self, key):
                if name not in names:
                    raise UserError(f"there is no step '{name}'", where=f"recipe: {key}", remedy=nearest(name, names))
        if len(set(self.steps)) < len(self.steps):
            raise UserError("names a step twice", where="recipe: steps")
        for name in names:
            unused = name not in self.steps and getattr(self, name) != getattr(_FRESH.get(type(self), self), name)
            if unused:
                remedy = f"Add {name} to steps, or leave its settings alone"
                raise UserError(f"{name} has settings of its own, but is not among the steps", remedy=remedy)

    @property
    def chosen(self) -> list[str]:
        """The steps that are done, in order."""
        return [name for name in self.steps if name not in self.without]


_FRESH: dict[type, Clean] = {}
_FRESH[Clean] = Clean()


def sources(recipe: Clean) -> dict[str, Path]:
    """What the recipe reads from disk, for the manifest; a pattern counts as the files it matches."""
    found: dict[str, Path] = {}
    for given, paths in resolve(recipe.inputs).items():
        path = Path(given).expanduser()
        for source in [path] if path.is_dir() else paths:
            _apart(source, recipe.out)
            found[str(source)] = source
    for name in recipe.chosen:
        step = getattr(recipe, name)
        for key, value in ((f.name, getattr(step, f.name)) for f in fields(step)):
            files = value if isinstance(value, tuple) else (value,)
            named = [file for file in files if isinstance(file, Path) and key != "index"]
            found |= {f"{name}.{key} {file}": file for file in named if file.exists()}
    return found


def _apart(source: Path, out: Path) -> None:
    """An output among the inputs would be read by the next run, or the inputs be replaced by this one."""
    a, b = source.resolve(), out.resolve()
    if a == b or a in b.parents or b in a.parents:
        raise UserError(f"overlaps the input {source}", where=out, remedy="Choose another --out")


def steps(recipe: Clean) -> dict[str, Step | CorpusStep]:
    """The recipe's steps under the names that the report shows, ready to work."""
    made: dict[str, Step | CorpusStep] = {}
    for name in recipe.chosen:
        step: Any = getattr(recipe, name)
        if name in MODELS and not step.model:
            remedy = f"Give --{name}.model, such as what 'danlu quality' wrote"
            raise UserError("needs a model", where=f"recipe: {name}", remedy=remedy)
        if name == "perplexity":
            from danlu.recipes.scorer import perplexity_scorer

            step = PerplexityBatches(step, perplexity_scorer(step.model, step.device, step.length, step.batch))
        made[name] = step
    return made


def command(recipe: Clean, *, fresh: bool = False) -> None:
    """What `danlu clean` does: `run`, or with ``explain`` only show what would be done with that file."""
    if recipe.explain is None:
        run(recipe, fresh=fresh)
        return
    from danlu.recipes.explain import explain

    for line in explain(recipe, recipe.explain):
        print(line)


def run(recipe: Clean, *, fresh: bool = False) -> Artifact:
    """Clean ``recipe.inputs`` into ``recipe.out``; a run that was stopped goes on with its unfinished tasks."""
    from danlu.recipes import refine

    if not recipe.inputs:
        raise UserError("needs at least one file, folder, pattern or package:NAME", where="recipe: inputs")
    started, inputs = time.monotonic(), sources(recipe)
    steps(recipe)  # is everything there that they need?
    for given in filter(packages.is_package, recipe.inputs):
        say(f"  {packages.PACKAGES[packages.name_of(given)].summary()}")
    draft = artifact.begin(recipe.out, "clean", recipe, inputs, fresh=fresh)
    made, funnel, composition = refine.run(recipe)
    counts = refine.written(made)
    if not sum(counts["documents"].values()):
        remove(recipe.out)
        raise refine.nothing_left(recipe, funnel)
    write_text(recipe.out / "funnel.json", json.dumps(funnel.to_dict(), ensure_ascii=False, indent=2) + "\n")
    seconds = round(time.monotonic() - started, 3)
    draft.metrics = {**counts, "seconds": seconds, "packages": _versions(recipe), "funnel": funnel.to_dict()}
    draft.seeds = {"split": recipe.seed}
    if recipe.report:
        from danlu.evaluate.refinery_report import write

        write_text(recipe.out / "composition.json", json.dumps(composition, ensure_ascii=False) + "\n")
        write(recipe.out, funnel.to_dict(), composition, draft.metrics)
    _tell(funnel, draft.metrics)
    return draft.finish()


def _versions(recipe: Clean) -> dict[str, str]:
    """The installed packages that were read: their text changes with their version."""
    named = [packages.PACKAGES[packages.name_of(given)] for given in filter(packages.is_package, recipe.inputs)]
    return {source.name: f"{source.package} {source.version}" for source in named}


def _tell(funnel: Funnel, metrics: dict[str, Any]) -> None:
    kept, read_in = metrics["documents"], sum(n for n, _ in funnel.sources.values())
    dropped = ", ".join(f"{reason} {number}" for reason, number in funnel.reasons().items()) or "none"
    say(
        f"  kept {sum(kept.values())} of {read_in} documents ({count(sum(metrics['bytes'].values()))}B), "
        f"{kept['validation']} of them for validation; dropped: {dropped}"
    )
    for name, flow in funnel.steps.items():
        if flow.changes:
            say(f"  {name} changed: {', '.join(f'{key} {number}' for key, number in flow.changes.items())}")
    for problem in funnel.problems[:PROBLEMS_SHOWN]:
        say(f"  {problem}")
    if funnel.problem_count > PROBLEMS_SHOWN:
        say(f"  and {funnel.problem_count - PROBLEMS_SHOWN} more like these: see funnel.json")
