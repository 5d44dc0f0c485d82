"""Text → a tokenizer.

    danlu tokenizer train runs/clean --out runs/tokenizer
    danlu tokenizer train books/ package:python --kind unigram --vocab 32000 --out runs/tokenizer

leaves a Hugging Face tokenizer (``tokenizer.json``, ``tokenizer_config.json``) in the directory itself, of any kind
one that `danlu tokenize`, `pretrain` and `sft` take.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.progress import count, say
from danlu.base.recipe import UNCHANGING
from danlu.recipes.corpus import Corpus, parse_bytes, sample
from danlu.recipes.tokenize import stage
from danlu.text.document import Document
from danlu.text.split import Side
from danlu.tokens.shards import encode_documents
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training import alphabet, unigram, wordpiece
from danlu.tokens.training.train import SMALLEST, train_bpe_reporting

SOURCES_SHOWN = 20  # a folder of ten thousand files has ten thousand sources; the largest are named
Kind = Literal["bpe", "wordpiece", "unigram"]
SMALLEST_OF = {"bpe": SMALLEST, "wordpiece": 8, "unigram": len(unigram.FIXED) + 2}
# Bytes of memory for a byte of Chinese text, the costly kind, measured on 三国演义 and verse; rounded up.
MEMORY_PER_BYTE = {"wordpiece": 90, "unigram": 100}
UNUSED = {"bpe": ("coverage",), "wordpiece": (), "unigram": ("min_frequency",)}


@dataclass(frozen=True)
class TrainTokenizer:
    """Learn a tokenizer from text."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CORPUS...")] = field(
        default=(), metadata=UNCHANGING
    )
    """A directory that 'danlu clean' wrote, or files, folders, patterns or package:NAME as danlu clean reads them."""
    out: Path = field(default=Path("runs/tokenizer"), metadata=UNCHANGING)
    """The directory to write."""
    kind: Kind = "bpe"
    """Byte-level BPE, WordPiece as in BERT (loses white space and rare characters), or Unigram with bytes."""
    vocab_size: Annotated[int, tyro.conf.arg(aliases=["--vocab"])] = 8192
    """The most ids there may be, special tokens and single bytes included."""
    min_frequency: int = 2
    """A pair seen less often than this is never made a piece; Unigram has no pairs."""
    digits: int = 2
    """The longest group of digits in one piece."""
    coverage: float = alphabet.COVERAGE
    """WordPiece and Unigram: the share of the text whose characters get pieces of their own, the rarest left out."""
    special: tuple[str, ...] = ()
    """More special tokens, such as <tool_call>, at the end of the vocabulary."""
    sample_bytes: int = 0
    """Learn from at most so much text, taken evenly; 0 is all of it, or for WordPiece and Unigram what memory holds."""
    memory: str = "2GB"
    """About the most memory that training may take: BPE counts in files beyond it, the others learn from less text."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        smallest = SMALLEST_OF.get(self.kind, 0) + len(self.special)
        for key, valid, rule in (
            ("kind", self.kind in get_args(Kind), f"must be one of {', '.join(get_args(Kind))}"),
            ("vocab_size", self.vocab_size >= smallest, f"must be at least {smallest}"),
            ("min_frequency", self.min_frequency >= 1, "must be at least 1"),
            ("digits", 1 <= self.digits <= 9, "must be between 1 and 9"),
            ("coverage", 0 < self.coverage <= 1, "must be above 0 and at most 1"),
            ("sample_bytes", self.sample_bytes >= 0, "must be at least 0"),
        ):
            if not valid:
                raise UserError(f"{rule}, found {getattr(self, key)!r}", where=f"recipe: {key}")
        parse_bytes(self.memory, "memory")
        for key in UNUSED[self.kind]:
            if getattr(self, key) != type(self).__dataclass_fields__[key].default:
                raise UserError(f"means nothing for {self.kind}", where=f"recipe: {key}", remedy="Leave it out")

    @property
    def limit(self) -> int:
        """The most text to learn from, in bytes; 0 is no limit."""
        needs = MEMORY_PER_BYTE.get(self.kind)
        fits = max(parse_bytes(self.memory, "memory") // needs, 1) if needs else 0
        return min(filter(None, (self.sample_bytes, fits)), default=0)


def sources(recipe: TrainTokenizer) -> dict[str, Path]:
    """What the recipe reads, for the manifest."""
    return Corpus(recipe.data).sources()


def run(recipe: TrainTokenizer, *, fresh: bool = False) -> Artifact:
    """Learn the tokenizer and write it into ``recipe.out``; measured on validation documents."""
    corpus = Corpus(recipe.data)
    corpus.apart_from(recipe.out)

    def work() -> dict[str, Any]:
        train_side = next(corpus.documents("train"), None) is not None
        held_out = train_side and next(corpus.documents("validation"), None) is not None
        learnt: Side | None = "train" if train_side else None  # one document may be all, and on the other side
        drawn = Drawn(corpus.documents(learnt))
        if recipe.limit:
            total = sum(document.bytes for document in corpus.documents(learnt))
            drawn = Drawn(sample(corpus.documents(learnt), total, recipe.limit))
            if total > recipe.limit:
                say(f"  learning from {count(recipe.limit)}B of {count(total)}B of text (--sample-bytes, --memory)")
        tokenizer, facts = train(recipe, drawn)
        tokenizer.save(recipe.out)
        side: Side = "validation" if held_out else "train"
        found = measured(tokenizer, corpus.documents(side if held_out else learnt))
        say(f"  {tokenizer.vocab_size} ids from {count(drawn.bytes)}B of text")
        _tell(found, side)
        made = {"kind": recipe.kind, "vocab_size": tokenizer.vocab_size, "sampled_bytes": drawn.bytes, **facts}
        return {**made, "measured_on": side, **found}

    return stage("tokenizer", recipe, sources(recipe), work, fresh)


class Drawn:
    """The texts of documents, and how many bytes went by."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents, self.bytes = documents, 0

    def __iter__(self) -> Iterator[str]:
        for document in self._documents:
            self.bytes += document.bytes
            yield document.text


def train(recipe: TrainTokenizer, texts: Iterable[str]) -> tuple[Tokenizer, dict[str, int]]:
    """A tokenizer of the recipe's kind with its own special tokens, and what there is to know of how it was made."""
    room, facts = recipe.vocab_size - len(recipe.special), dict[str, int]()
    if recipe.kind == "bpe":
        most = parse_bytes(recipe.memory, "memory")
        made, facts = train_bpe_reporting(
            texts, room, min_frequency=recipe.min_frequency, digits=recipe.digits, memory=most
        )
    elif recipe.kind == "wordpiece":
        made = wordpiece.train_wordpiece(
            texts, room, min_frequency=recipe.min_frequency, digits=recipe.digits, coverage=recipe.coverage
        )
    else:
        made = unigram.train_unigram(texts, room, digits=recipe.digits, coverage=recipe.coverage)
    return (made.with_special(recipe.special) if recipe.special else made), facts


def measured(tokenizer: Tokenizer, documents: Iterator[Document]) -> dict[str, Any]:
    """UTF-8 bytes a token, over all and of the largest sources, and what does not come back."""
    sizes: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    unknown = seen = failures = 0
    unknown_id = tokenizer.unknown_id
    held: deque[str] = deque()

    def passing() -> Iterator[tuple[str, str]]:
        for document in documents:
            held.append(document.text)
            yield document.text, document.source

    for encoded in encode_documents(tokenizer, passing()):
        ids, text = list(encoded.ids)[1:-1], held.popleft()
        sizes[encoded.source] += encoded.bytes
        tokens[encoded.source] += len(ids)
        unknown += ids.count(unknown_id) if unknown_id is not None else 0
        failures += tokenizer.decode(ids, skip_special=False) != text
        seen += 1
    by_source = {name: round(size / max(tokens[name], 1), 4) for name, size in sizes.most_common(SOURCES_SHOWN)}
    return {
        "bytes_per_token": round(sizes.total() / max(tokens.total(), 1), 4),
        "bytes_per_token_by_source": by_source,
        "unknown_share": round(unknown / max(tokens.total(), 1), 6),
        "documents": seen,
        "round_trip_failures": failures,
    }


def _tell(found: dict[str, Any], side: str) -> None:
    say(f"  {found['bytes_per_token']:.3f} bytes a token on {side} documents")
    for name, ratio in found["bytes_per_token_by_source"].items():
        say(f"    {ratio:.3f} {name}")
    if found["round_trip_failures"]:
        lost = f"{found['round_trip_failures']} of {found['documents']} documents do not come back as they were"
        say(f"  {lost}; {found['unknown_share']:.3%} of the tokens are unknown")
