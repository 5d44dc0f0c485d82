"""The last model of a chain, under a name that does not depend on which stages there were.

It is a whole model, whatever trained it: an adapter is merged into its base, so that what the card says is true of it
and vLLM or llama.cpp's converter open it.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.files import existing, write_text
from danlu.base.recipe import UNCHANGING

STAGE = "model"
FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Publish:
    """Put a finished model where it is found: its Hugging Face files and a card; an adapter is merged into its base."""

    model: Path = field(metadata=UNCHANGING)
    """The directory of the stage that trained it."""
    out: Path = field(default=Path("runs/model"), metadata=UNCHANGING)
    """The directory to write."""


def sources(recipe: Publish) -> dict[str, Path]:
    """What the stage reads."""
    from danlu.model.adapters.loading import base_of
    from danlu.model.hub import is_adapter

    return {"model": recipe.model} | ({"base": base_of(recipe.model)} if is_adapter(recipe.model) else {})


def run(recipe: Publish, *, fresh: bool = False) -> Artifact:
    """Link (or copy) the files, or write the merged ones, and the card."""
    from danlu.recipes.merge import merged
    from danlu.recipes.training import save_chat_model

    trained, inputs = artifact.load(recipe.model), sources(recipe)
    made = merged(recipe.model, inputs["base"]) if "base" in inputs else None
    draft = artifact.begin(recipe.out, STAGE, recipe, inputs, fresh=fresh)
    draft.metrics = {"parameters": trained.metrics.get("parameters"), "trained_by": trained.stage}
    if made is None:
        _link(recipe)
    else:
        save_chat_model(made.model, made.tokenizer, recipe.out)
        draft.metrics["largest_difference"] = made.metrics["largest_difference"]
    write_text(recipe.out / "README.md", card(trained))
    return draft.finish()


def _link(recipe: Publish) -> None:
    """The files as they are."""
    weights = sorted(path.name for path in recipe.model.glob("*.safetensors*"))
    for name in (*FILES, *weights):
        target = recipe.out / name
        target.unlink(missing_ok=True)
        try:
            os.link(existing(recipe.model / name), target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(recipe.model / name, target)


def card(trained: Artifact) -> str:
    """A model card: what it is, from what, and how to run it."""
    walked = artifact.lineage(trained.path)
    rows = "\n".join(f"| {'· ' * depth}{stage} | `{path}` | `{digest[:12]}` |" for depth, stage, path, digest in walked)
    parameters = trained.metrics.get("parameters", 0)
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [danlu]
---

# A model of {parameters:,} parameters, trained by Danlu

```bash
danlu chat .
python -c "from transformers import pipeline; print(pipeline('text-generation', '.')('Hello'))"
```

## Lineage

| made by | where | manifest |
|---|---|---|
{rows}
"""
