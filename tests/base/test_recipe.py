"""One object, three spellings: what is written is read back, and what is wrong is named."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base import recipe
from danlu.base.errors import UserError


@dataclass(frozen=True)
class Shape:
    """Nested in `Stage`."""

    width: int = 4
    kind: Literal["wide", "deep"] = "wide"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError("width must be at least 1")


@dataclass(frozen=True)
class Stage:
    """One field of every type that a recipe may have."""

    data: Path
    out: Path = field(default=Path("runs/x"), metadata=recipe.UNCHANGING)
    sources: tuple[Path, ...] = ()
    names: list[str] = field(default_factory=list)
    shape: Shape = field(default_factory=Shape)
    shapes: tuple[Shape, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    lr: float = 1e-3
    limit: int | None = None
    note: str | None = None
    precise: bool = False
    mode: Literal["auto", "off"] = "auto"


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).map(Path)
NUMBERS = st.floats(allow_nan=False)
SHAPES = st.builds(Shape, width=st.integers(1), kind=st.sampled_from(["wide", "deep"]))
STAGES = st.builds(
    Stage,
    data=PATHS,
    out=PATHS,
    sources=st.lists(PATHS, max_size=3).map(tuple),
    names=st.lists(TEXT, max_size=3),
    shape=SHAPES,
    shapes=st.lists(SHAPES, max_size=2).map(tuple),
    shares=st.dictionaries(TEXT, NUMBERS, max_size=3),
    lr=NUMBERS,
    limit=st.none() | st.integers(-(2**60), 2**60),
    note=st.none() | TEXT,
    precise=st.booleans(),
    mode=st.sampled_from(["auto", "off"]),
)


@settings(max_examples=60, deadline=None)
@given(stage=STAGES)
def test_what_is_saved_is_loaded(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    recipe.save(stage, path)
    again = recipe.load(Stage, path)
    assert again == stage
    assert recipe.dumps(again) == recipe.dumps(stage)


def read(tmp_path: Path, text: str) -> Stage:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return recipe.load(Stage, path)


def test_what_is_left_out_is_the_default(tmp_path: Path) -> None:
    assert read(tmp_path, "data: d\n") == Stage(Path("d"))
    assert read(tmp_path, "data: d\nshape: {width: 9}\n").shape == Shape(9)


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("1", 1.0), ("2.5e3", 2500.0), ("'0.5'", 0.5)])
def test_numbers_as_people_write_them(tmp_path: Path, text: str, value: float) -> None:
    """YAML 1.1 takes 1e-3 for text, because it has no point."""
    found = read(tmp_path, f"data: d\nlr: {text}\n").lr
    assert (found, type(found)) == (value, float)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("data: d\nmod: off\n", r"r\.yaml: unknown key 'mod'\. Did you mean 'mode'\?"),
        ("data: d\nshape: {widht: 3}\n", r"r\.yaml: shape: unknown key 'widht'\. Did you mean 'width'\?"),
        ("data: d\nqqqqqqqq: 3\n", r"unknown key 'qqqqqqqq'\. Known names: data, limit, lr, "),
        ("lr: 0.1\n", r"r\.yaml: missing data"),
        ("", r"r\.yaml: missing data"),
        ("data: d\nlr: fast\n", r"r\.yaml: lr: expected float, found 'fast'"),
        ("data: d\nlr: true\n", r"lr: expected float, found True"),
        ("data: d\nlimit: 1.5\n", r"limit: expected int, found 1\.5"),
        ("data: d\nlimit: .inf\n", r"limit: expected int, found inf"),
        ("data: d\nlimit: .nan\n", r"limit: expected int, found nan"),
        ("data: d\nlimit: yes\n", r"limit: expected int, found True"),
        ("data: d\nprecise: 1\n", r"precise: expected bool, found 1"),
        ("data: 3\n", r"data: expected Path, found 3"),
        ("data: d\nmode: atuo\n", r"mode: 'atuo' is not one of the choices\. Did you mean 'auto'\?"),
        ("data: d\nmode: [auto]\n", r"mode: '\['auto'\]' is not one of the choices"),
        ("data: d\nsources: a\n", r"sources: expected a list, found 'a'"),
        ("data: d\nnames: [a, 1]\n", r"names: expected str, found 1"),
        ("data: d\nshares: [a]\n", r"shares: expected keys and values"),
        ("data: d\nshares: {a: b}\n", r"shares: a: expected float, found 'b'"),
        ("data: d\nshape: 3\n", r"shape: expected keys and values, found int"),
        ("data: d\nshape: {width: 0}\n", r"shape: width must be at least 1"),
        ("- data\n", r"expected keys and values, found list"),
        ("data: [\n", r"r\.yaml: not valid YAML"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_its_key(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        recipe.load(Stage, tmp_path / "absent.yaml")
    (tmp_path / "r.yaml").write_bytes(b"data: \xff\xfe\n")
    with pytest.raises(UserError, match="not valid YAML"):
        recipe.load(Stage, tmp_path / "r.yaml")


def mark(stage: Any) -> str:
    return recipe.fingerprint(recipe.identity(stage))


def test_only_what_decides_the_result_is_in_the_fingerprint() -> None:
    stage = Stage(Path("d"))
    assert mark(replace(stage, out=Path("elsewhere"))) == mark(stage)
    others = [
        replace(stage, lr=2e-3),
        replace(stage, shape=Shape(5)),
        replace(stage, data=Path("e")),
        replace(stage, note=""),
    ]
    assert len({mark(other) for other in [stage, *others]}) == 5


def test_a_nested_field_can_be_unchanging_too() -> None:
    @dataclass(frozen=True)
    class Outer:
        inner: Stage

    assert mark(Outer(Stage(Path("d"), out=Path("a")))) == mark(Outer(Stage(Path("d"), out=Path("b"))))
    assert mark(Outer(Stage(Path("d")))) != mark(Outer(Stage(Path("e"))))


def test_the_fingerprint_is_that_of_sorted_json() -> None:
    """printf '{"a": [1], "b": "丹"}' | sha256sum"""
    golden = "a39558af51b54954c590097305ffbde172c256bcb164694b7b076244d4217941"
    assert recipe.fingerprint({"b": "丹", "a": [1]}) == golden


def test_what_changed_is_said_key_by_key() -> None:
    old, new = recipe.identity(Stage(Path("d"))), recipe.identity(Stage(Path("d"), lr=0.5, shape=Shape(7)))
    assert recipe.difference(old, new) == ["lr 0.001 → 0.5", "shape.width 4 → 7"]
    assert recipe.difference(old, old) == []
