"""Talk with a model in the terminal."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from danlu.base.device_names import DeviceName
from danlu.base.errors import UserError
from danlu.base.progress import interactive, say
from danlu.model.adapters.quantization import Quantize

if TYPE_CHECKING:
    from danlu.model.adapters.switching import Adapters

NONE = "none"


@dataclass(frozen=True)
class Chat:
    """Talk with a model; without a terminal, every line of standard input is answered by itself."""

    model: Annotated[Path, tyro.conf.Positional]
    """A model directory with a chat template; an adapter's is merged into its base, or stands beside it."""
    adapters: tuple[Path, ...] = ()
    """Adapters of the model to switch between while talking: /adapter NAME, by the names of their folders."""
    system: str = ""
    """A system message that opens the conversation."""
    temperature: float = 0.7
    """0 always takes the likeliest token."""
    top_p: float = 0.95
    """Keep the likeliest tokens until their probabilities add up to this."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    repetition_penalty: float = 1.0
    """Makes tokens of the prompt and the answer less likely; 1 changes nothing, and 1.1 ends many a small model's
    loops."""
    max_new_tokens: int = 200
    """The longest answer, in tokens."""
    seed: int = 0
    """Of sampling."""
    quantize: Quantize = "none"
    """nf4 keeps the linear layers in four bits; beside them, unmerged, an adapter as QLoRA trained it."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""


def run(recipe: Chat) -> None:
    """Read a line, answer it, until the end of input."""
    from danlu.base.device import pick_device
    from danlu.base.seed import derive
    from danlu.generate.engine import Engine
    from danlu.generate.sample import Sampling
    from danlu.model.adapters.switching import Adapters
    from danlu.recipes.training import Machine, open_model
    from danlu.tokens.chat import check_template, render

    model, tokenizer = open_model(recipe.model, Machine(pick_device(recipe.device), "fp32"), recipe.quantize)
    check_template(tokenizer)
    adapters = Adapters(model, _named(recipe.adapters)) if recipe.adapters else None
    engine = Engine(model, tokenizer.stop_ids)
    opening = [{"role": "system", "content": recipe.system}] if recipe.system else []
    turns, talking = list(opening), interactive()
    if talking:
        switches = "/adapter NAME switches, " if adapters else ""
        say(f"{recipe.model}: type a message; /new starts over, {switches}Ctrl-D ends")
    while (line := _read(talking)) is not None:
        if line == "/new" or not talking:
            turns = list(opening)
        if line.split()[:1] == ["/adapter"]:
            _switch(adapters, line.removeprefix("/adapter").strip())
            continue
        if not line or line == "/new":
            continue
        turns.append({"role": "user", "content": line})
        ids = render(tokenizer, turns, add_generation_prompt=True).ids
        while len(ids) >= model.config.max_length - 1 and len(turns) > len(opening) + 1:
            del turns[len(opening) : len(opening) + 2]  # forget the oldest question and its answer
            ids = render(tokenizer, turns, add_generation_prompt=True).ids
        seed = derive(recipe.seed, len(turns), line)
        how = Sampling(recipe.max_new_tokens, recipe.temperature, recipe.top_k, recipe.top_p, seed, 1,
                       recipe.repetition_penalty)  # fmt: skip
        try:
            answer = tokenizer.decode(engine.generate([ids], how)[0].ids).strip()
        except UserError as error:
            say(str(error))
            turns.pop()
            continue
        turns.append({"role": "assistant", "content": answer})
        print(answer, flush=True)


def _named(paths: tuple[Path, ...]) -> dict[str, Path]:
    """The folders by their names, which must differ."""
    found = {path.resolve().name: path for path in paths}
    if len(found) < len(paths) or NONE in found:
        what = f"the folders' names must differ, and none be '{NONE}'"
        raise UserError(what, where="recipe: adapters", remedy="Rename one")
    return found


def _switch(adapters: "Adapters | None", name: str) -> None:
    """Have that adapter on, or none; without a name, say which there are."""
    try:
        if adapters is None:
            raise UserError("there are no adapters to switch to", remedy="Give some with --adapters")
        if name:
            adapters.switch(None if name == NONE else name)
        say(f"  adapters: {', '.join(adapters.names)}; now {adapters.active or NONE}")
    except UserError as error:
        say(str(error))


def _read(talking: bool) -> str | None:
    """One line, or None at the end."""
    try:
        return input("> " if talking else "").strip()
    except (EOFError, KeyboardInterrupt):
        if talking:
            print(file=sys.stderr)
        return None
