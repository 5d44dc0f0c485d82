"""`danlu tokenize` with workers leaves the artifact that it leaves alone, and takes up what was killed."""

from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.recipes import tokenize
from danlu.recipes.tokenize import Tokenize
from danlu.tokens.encoding import encode


def outputs(made: Any) -> dict[str, str]:
    return {name: digest for name, digest in made.manifest["outputs"].items() if name != "recipe.yaml"}


def test_workers_change_nothing(made: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"data": made / "clean", "tokenizer": made / "tokenizer"}
    alone = tokenize.run(Tokenize(**given, out=tmp_path / "alone"))
    together = tokenize.run(Tokenize(**given, out=tmp_path / "together", workers=2))
    assert outputs(alone) == outputs(together)
    assert alone.manifest["identity"] == together.manifest["identity"]
    assert not (together.path / ".work").exists()
    together.verify()


def test_a_stopped_run_goes_on(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Tokenize(data=made / "clean", tokenizer=made / "tokenizer", out=tmp_path / "out")
    whole = tokenize.run(Tokenize(data=made / "clean", tokenizer=made / "tokenizer", out=tmp_path / "whole"))
    done: list[str] = []
    work = encode.do

    def counted(hello: dict[str, Any], order: dict[str, Any]) -> None:
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(order["out"])
        work(hello, order)

    with monkeypatch.context() as patched:
        patched.setattr(encode, "do", counted)
        with pytest.raises(KeyboardInterrupt):
            tokenize.run(recipe)
    again: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(encode, "do", lambda hello, order: (again.append(order["out"]), work(hello, order)))
        made_again = tokenize.run(recipe)
    assert done
    assert again
    assert not set(done) & set(again)
    assert outputs(made_again) == outputs(whole)


def test_workers_must_make_sense() -> None:
    with pytest.raises(UserError, match="recipe: workers"):
        Tokenize(data=Path("x"), tokenizer=Path("y"), workers=-1)
