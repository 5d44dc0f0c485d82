"""``danlu COMMAND``: every command is a recipe; flags, ``--config FILE`` and Python are the same object.

Nothing but the chosen command's recipe is imported, so ``--help`` needs no torch.
"""

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError, from_os_error, nearest

# command → (module, recipe, function, what it does)
COMMANDS = {
    "demo": ("danlu.recipes.demo", "Demo", "run", "the whole road on embedded data, in eight minutes"),
    "chain": ("danlu.recipes.chain", "Chain", "run", "the whole road on your own data"),
    "clean": ("danlu.recipes.clean", "Clean", "command", "raw files → clean documents"),
    "quality": ("danlu.recipes.quality", "TrainQuality", "run", "good and bad texts → a classifier for danlu clean"),
    "tokenizer train": ("danlu.recipes.tokenizer", "TrainTokenizer", "run", "text → a tokenizer"),
    "tokenizer extend": ("danlu.recipes.extend", "Extend", "run", "a model and text → the model with more tokens"),
    "tokenizer report": ("danlu.recipes.tokenizer_report", "TokenizerReport", "run", "tokenizers side by side"),
    "tokenize": ("danlu.recipes.tokenize", "Tokenize", "run", "clean documents → token shards"),
    "import": ("danlu.recipes.importing", "Import", "run", "a GGUF file → a model directory"),
    "mix": ("danlu.recipes.mix", "Mix", "run", "token shards of several sources → a mixture"),
    "pretrain": ("danlu.recipes.pretrain", "Pretrain", "run", "token shards → a language model"),
    "ladder": ("danlu.recipes.ladder", "Ladder", "run", "a row of small models → the loss of the next"),
    "data inspect": (
        "danlu.recipes.data",
        "Inspect",
        "inspect",
        "what is in conversations, and what is learned",
    ),
    "data convert": ("danlu.recipes.data", "Convert", "convert", "conversations of one shape → of another"),
    "sft": ("danlu.recipes.sft", "Sft", "run", "a model and conversations → a chat model"),
    "task train": ("danlu.recipes.task", "TrainTask", "run", "a model and records with labels → a model for the task"),
    "task predict": ("danlu.recipes.task_predict", "Predict", "predict", "such a model and records → guesses"),
    "merge": ("danlu.recipes.merge", "Merge", "run", "an adapter and its base → one model directory"),
    "compress": ("danlu.recipes.compress", "Compress", "run", "a model and documents → four bits, chosen together"),
    "instruct": ("danlu.recipes.instruct", "Instruct", "run", "seed tasks and a model → instruction data"),
    "preferences": ("danlu.recipes.preferences", "SamplePreferences", "run", "a chat model → preference pairs"),
    "dpo": ("danlu.recipes.dpo", "Dpo", "run", "a chat model and preference pairs → a better one"),
    "eval": ("danlu.recipes.evaluation", "Evaluate", "run", "a model → numbers"),
    "chat": ("danlu.recipes.chat", "Chat", "run", "talk with a model"),
    "report": ("danlu.recipes.inspect", "Report", "report", "a run → report.html"),
    "lineage": ("danlu.recipes.inspect", "Lineage", "lineage", "from a model back to the source files"),
    "map": ("danlu.recipes.inspect", "Map", "house", "the rooms of the house"),
}
# They leave nothing behind, or one file, so --fresh means nothing
UNREPEATED = ("chat", "report", "lineage", "map", "data inspect", "data convert", "task predict")
PRESETS = {"clean": "danlu.recipes.presets"}  # modules with named recipes of a command
WITH_REPORT = ("pretrain", "sft", "dpo")
GENERAL = """General options: --config FILE reads a recipe and --preset NAME takes a named one, where the command has
some (flags given beside them win), --fresh starts over where an unfinished or finished run is, --debug shows the
traceback of an error."""


def usage(group: str = "") -> str:
    """What ``danlu --help`` prints, or ``danlu GROUP --help`` for the commands of two words that begin with it."""
    from danlu import __version__

    begin = f"{group} " * bool(group)
    shown = {name.removeprefix(begin): row[-1] for name, row in COMMANDS.items() if name.startswith(begin)}
    rows = "\n".join(f"  {name:<{max(map(len, shown))}}  {what}" for name, what in shown.items())
    title = f"danlu {__version__} (丹炉): raw text to a language model"
    return f"{title}\n\nusage: danlu {begin}COMMAND [options]\n\n{rows}\n\n{GENERAL}"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [item for item in given if item != "--debug"]
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if given else 2
    if given[0] in ("--version", "-V"):
        from danlu import __version__

        print(__version__)
        return 0
    if given[0] in groups() and given[1:2] in ([], ["-h"], ["--help"]):
        print(usage(given[0]))
        return 0 if len(given) > 1 else 2
    try:
        dispatch(*named(given))
        return 0
    except UserError as error:
        return fail(str(error), debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        known = from_os_error(error)
        if known is None:
            raise
        return fail(str(known), debug)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def fail(sentence: str, debug: bool) -> int:
    """One sentence, and the traceback if it was asked for."""
    if debug:
        traceback.print_exc()
    print(f"danlu: {sentence}", file=sys.stderr)
    return 2


def groups() -> set[str]:
    """The first words of commands of two words."""
    return {name.split()[0] for name in COMMANDS if " " in name}


def named(given: list[str]) -> tuple[str, list[str]]:
    """The command, of one word or two, and its arguments."""
    words = 2 if given[0] in groups() else 1
    return " ".join(given[:words]), given[words:]


def dispatch(command: str, arguments: list[str]) -> None:
    """Read the recipe and run it."""
    if command not in COMMANDS:
        raise UserError(f"there is no command '{command}'", remedy=nearest(command, COMMANDS))
    module_name, class_name, function, _ = COMMANDS[command]
    module = importlib.import_module(module_name)
    fresh = "--fresh" in arguments and command not in UNREPEATED
    if fresh:
        arguments = [item for item in arguments if item != "--fresh"]
    recipe = read(getattr(module, class_name), command, arguments)
    run = getattr(module, function)
    result = run(recipe) if command in UNREPEATED else run(recipe, fresh=fresh)
    if command in WITH_REPORT:
        from danlu.recipes.reporting import report

        report(Path(result.path))


def read(cls: Any, command: str, arguments: list[str]) -> Any:
    """The recipe from flags, over ``--config FILE`` or ``--preset NAME`` if there is one."""
    import tyro

    from danlu.base.recipe import load

    arguments, file = _taken(arguments, "--config")
    own = "preset" in cls.__dataclass_fields__  # a key of the recipe's, such as the shape that pretrain trains
    arguments, name = (arguments, None) if own else _taken(arguments, "--preset")
    values: dict[str, Any] = {"prog": f"danlu {command}", "args": arguments}
    if file is not None and name is not None:
        raise UserError("--config and --preset exclude each other", remedy="A recipe file already says everything")
    if file is not None:
        values["default"] = load(cls, Path(file))
    if name is not None:
        values["default"] = _preset(command, name)
    about = (cls.__doc__ or "").strip()
    if command in PRESETS:
        about += f"\n\n--preset: {', '.join(_presets(command))}"
    return tyro.cli(cls, description=f"{about}\n\n{GENERAL}", **values)


def _taken(arguments: list[str], flag: str) -> tuple[list[str], str | None]:
    """The arguments without ``flag`` and its value, and the value."""
    for index, item in enumerate(arguments):
        if item == flag or item.startswith(f"{flag}="):
            inline = item.partition("=")[2]
            if not inline and index + 1 == len(arguments):
                raise UserError(f"{flag} needs a value")
            value = inline or arguments[index + 1]
            return arguments[:index] + arguments[index + (1 if inline else 2) :], value
    return arguments, None


def _presets(command: str) -> dict[str, Any]:
    found: dict[str, Any] = importlib.import_module(PRESETS[command]).PRESETS
    return found


def _preset(command: str, name: str) -> Any:
    if command not in PRESETS:
        raise UserError(f"danlu {command} has no presets", remedy=f"These have: {', '.join(PRESETS)}")
    known = _presets(command)
    if name not in known:
        raise UserError(f"there is no preset '{name}'", where=f"danlu {command}", remedy=nearest(name, known))
    return known[name]()


if __name__ == "__main__":
    sys.exit(main())
