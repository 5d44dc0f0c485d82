"""The last model of a chain, under a name that does not depend on which stages there were."""

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
    """Put a finished model where it is found: its Hugging Face files and a card."""

    model: Path = field(metadata=UNCHANGING)
    """The directory of the stage that trained it."""
    out: Path = field(default=Path("runs/model"), metadata=UNCHANGING)
    """The directory to write."""


def sources(recipe: Publish) -> dict[str, Path]:
    """What the stage reads."""
    return {"model": recipe.model}


def run(recipe: Publish, *, fresh: bool = False) -> Artifact:
    """Link (or copy) the files and write the card."""
    trained = artifact.load(recipe.model)
    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    weights = sorted(path.name for path in recipe.model.glob("*.safetensors*"))
    for name in (*FILES, *weights):
        target = recipe.out / name
        target.unlink(missing_ok=True)
        try:
            os.link(existing(recipe.model / name), target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(recipe.model / name, target)
    write_text(recipe.out / "README.md", card(trained))
    draft.metrics = {"parameters": trained.metrics.get("parameters"), "trained_by": trained.stage}
    return draft.finish()


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
