"""A directory without a valid manifest does not exist; a run that was killed is taken up; lineage finds the sources."""

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from danlu.base import artifact
from danlu.base.artifact import MANIFEST, STAGE, Artifact, Draft
from danlu.base.errors import UserError
from danlu.base.files import remove, sha256, write_text
from danlu.base.recipe import UNCHANGING, load


@dataclass(frozen=True)
class Boil:
    """A stage's recipe."""

    heat: int = 90
    out: Path = field(default=Path("x"), metadata=UNCHANGING)


def make(path: Path, recipe: Boil | None = None, stage: str = "boil", **inputs: Path | Artifact) -> Artifact:
    draft = artifact.begin(path, stage, recipe or Boil(), inputs)
    write_text(path / "soup.txt", f"{stage} {recipe}")
    write_text(path / "side/salt.txt", "salt")
    draft.metrics["taste"] = 7
    draft.seeds["seed"] = 3
    return draft.finish()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_text(tmp_path / "tree/raw/water.txt", "water")
    return tmp_path / "tree/raw"


def test_a_finished_stage_says_all_about_itself(tmp_path: Path, source: Path) -> None:
    made = make(tmp_path / "tree/a", raw=source)
    found = artifact.load(tmp_path / "tree/a", "boil")
    assert found == made
    assert (found.stage, found.metrics) == ("boil", {"taste": 7})
    assert found.digest == sha256(tmp_path / "tree/a" / MANIFEST)
    manifest = found.manifest
    assert manifest["outputs"] == {
        name: sha256(found.path / name) for name in ("recipe.yaml", "side/salt.txt", "soup.txt")
    }
    assert manifest["recipe"] == {"heat": 90, "out": "x"}
    assert manifest["inputs"]["raw"]["path"] == "../raw"
    assert (manifest["seeds"], manifest["seconds"] >= 0) == ({"seed": 3}, True)
    assert {"python", "torch", "pyarrow"} <= set(manifest["versions"])
    assert load(Boil, found.path / "recipe.yaml") == Boil()
    assert not (found.path / STAGE).exists()
    found.verify()


def test_an_unfinished_stage_does_not_exist(tmp_path: Path) -> None:
    artifact.begin(tmp_path / "a", "boil", Boil())
    assert artifact.find(tmp_path / "a") is None
    with pytest.raises(UserError, match=r"holds an unfinished run\. Run the stage that makes it \(boil\) first"):
        artifact.load(tmp_path / "a", "boil")
    with pytest.raises(UserError, match="holds nothing that Danlu made"):
        artifact.load(tmp_path)
    with pytest.raises(UserError, match=r"holds nothing\."):
        artifact.load(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 99, "outputs": {}}'])
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / MANIFEST, text)
    assert artifact.find(tmp_path) is None


def test_another_stage_is_not_taken_for_it(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(UserError, match="was made by 'boil', and 'fry' is needed"):
        artifact.load(tmp_path / "a", "fry")


def test_a_killed_run_is_taken_up(tmp_path: Path, source: Path) -> None:
    first = artifact.begin(tmp_path / "a", "boil", Boil(), {"raw": source})
    write_text(tmp_path / "a/.checkpoint/half", "half")
    assert not first.resumed
    assert artifact.changes(tmp_path / "a", "boil", Boil(), {"raw": source}) == artifact.UNFINISHED
    second = artifact.begin(tmp_path / "a", "boil", replace(Boil(), out=Path("y")), {"raw": source})
    assert second.resumed
    assert (tmp_path / "a/.checkpoint/half").read_text() == "half"
    second.finish()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [MANIFEST, "recipe.yaml"]


def test_another_recipes_run_is_refused_unless_fresh(tmp_path: Path) -> None:
    artifact.begin(tmp_path / "a", "boil", Boil())
    write_text(tmp_path / "a/half.txt", "half")
    with pytest.raises(UserError, match=r"another recipe \(recipe\.heat 90 → 95\)\. .*--fresh"):
        artifact.begin(tmp_path / "a", "boil", Boil(95))
    with pytest.raises(UserError, match="another recipe"):
        artifact.begin(tmp_path / "a", "fry", Boil())
    assert (tmp_path / "a/half.txt").exists()
    draft = artifact.begin(tmp_path / "a", "boil", Boil(95), fresh=True)
    assert not draft.resumed
    assert not (tmp_path / "a/half.txt").exists()


def test_fresh_starts_the_same_recipe_over(tmp_path: Path) -> None:
    artifact.begin(tmp_path / "a", "boil", Boil())
    write_text(tmp_path / "a/half.txt", "half")
    assert not artifact.begin(tmp_path / "a", "boil", Boil(), fresh=True).resumed
    assert not (tmp_path / "a/half.txt").exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_foreign_folder_is_never_touched(tmp_path: Path, fresh: bool) -> None:
    write_text(tmp_path / "thesis.txt", "years of work")
    with pytest.raises(UserError, match="is not empty and was not made by Danlu"):
        artifact.begin(tmp_path, "boil", Boil(), fresh=fresh)
    with pytest.raises(UserError, match="is a file, not a folder"):
        artifact.begin(tmp_path / "thesis.txt", "boil", Boil(), fresh=fresh)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_finished_artifact_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "a")
    draft = artifact.begin(tmp_path / "a", "boil", Boil(95))
    assert not draft.resumed
    assert artifact.find(tmp_path / "a") is None
    assert not (tmp_path / "a/soup.txt").exists()


def test_a_folder_half_emptied_by_a_kill_is_recovered(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / STAGE, "null\n")
    write_text(tmp_path / "a/left.txt", "of the run before")
    assert artifact.changes(tmp_path / "a", "boil", Boil(), {}) == "not made yet"
    draft = artifact.begin(tmp_path / "a", "boil", Boil())
    assert not draft.resumed
    assert not (tmp_path / "a/left.txt").exists()


def test_a_kill_while_the_folder_is_emptied_never_leaves_a_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever order the file system lists names in, the manifest goes first."""
    make(tmp_path / "a")
    listed = sorted((tmp_path / "a").iterdir(), reverse=True)
    assert listed.index(tmp_path / "a" / MANIFEST) > 1
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(listed))
    whole, states = remove, list[bool]()

    def watched(path: Path) -> None:
        whole(path)
        states.append((tmp_path / "a" / MANIFEST).exists())

    monkeypatch.setattr(artifact, "remove", watched)
    artifact.begin(tmp_path / "a", "boil", Boil(95))
    assert len(states) > 3
    assert not any(states)


def test_a_kill_after_the_manifest_leaves_a_finished_stage(tmp_path: Path) -> None:
    """The marker of the run is still there, and perhaps half of its working files: not a run to take up."""
    make(tmp_path / "a")
    identity = artifact.load(tmp_path / "a").manifest["identity"]
    write_text(tmp_path / "a" / STAGE, json.dumps(identity))
    assert artifact.changes(tmp_path / "a", "boil", Boil(), {}) is None
    draft = artifact.begin(tmp_path / "a", "boil", Boil())
    assert not draft.resumed
    assert artifact.find(tmp_path / "a") is None


def test_why_a_stage_runs_again(tmp_path: Path, source: Path) -> None:
    path = tmp_path / "a"

    def why(recipe: Boil, stage: str = "boil") -> str | None:
        return artifact.changes(path, stage, recipe, {"raw": source})

    assert why(Boil()) == "not made yet"
    make(path, raw=source)
    assert why(Boil()) is None
    assert why(Boil(out=Path("y"))) is None
    assert why(Boil(95)) == "recipe changed: heat 90 → 95"
    assert why(Boil(), "fry") == "recipe changed: stage boil → fry"
    (path / "side/salt.txt").unlink()
    assert why(Boil()) == "side/salt.txt is missing"
    make(path, raw=source)
    write_text(source / "water.txt", "wine")
    assert why(Boil()) == "input changed: raw"


def test_a_new_name_is_a_new_input(tmp_path: Path, source: Path) -> None:
    make(tmp_path / "a", raw=source)
    (source / "water.txt").rename(source / "renamed.txt")
    assert artifact.changes(tmp_path / "a", "boil", Boil(), {"raw": source}) == "input changed: raw"


def test_lineage_walks_to_the_sources_and_survives_a_move(tmp_path: Path, source: Path) -> None:
    first = make(tmp_path / "tree/a", raw=source)
    second = make(tmp_path / "tree/deep/b", stage="fry", first=first, water=source / "water.txt")
    rows = artifact.lineage(second.path)
    tree = tmp_path / "tree"
    assert [(depth, stage, path) for depth, stage, path, _ in rows] == [
        (0, "fry", tree / "deep/b"),
        (1, "boil", tree / "a"),
        (2, "source", tree / "raw"),
        (1, "source", tree / "raw/water.txt"),
    ]
    assert [row[3] for row in rows[:2]] == [second.digest, first.digest]
    assert rows[3][3] == sha256(source / "water.txt")
    shutil.move(tree, tmp_path / "moved")
    moved = artifact.lineage(tmp_path / "moved/deep/b")
    assert [(r[0], r[1], r[3]) for r in moved] == [(r[0], r[1], r[3]) for r in rows]
    assert moved[2][2] == tmp_path / "moved/raw"
    inputs = {"first": tmp_path / "moved/a", "water": tmp_path / "moved/raw/water.txt"}
    assert artifact.changes(tmp_path / "moved/deep/b", "fry", Boil(), inputs) is None


def test_verify_names_what_is_damaged(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    damaged = bytearray((made.path / "side/salt.txt").read_bytes())
    damaged[0] ^= 1
    (made.path / "side/salt.txt").write_bytes(damaged)
    with pytest.raises(UserError, match=r"a: side/salt\.txt differs from its manifest"):
        made.verify()
    (made.path / "side/salt.txt").unlink()
    with pytest.raises(UserError, match=r"a: side/salt\.txt is missing"):
        made.verify()


def decided(draft: Draft, value: str) -> str:
    return draft.decide("precision", lambda: value)


def test_a_decision_is_made_once_a_run(tmp_path: Path) -> None:
    first = artifact.begin(tmp_path / "a", "boil", Boil())
    assert decided(first, "bf16") == "bf16"
    second = artifact.begin(tmp_path / "a", "boil", Boil())
    assert decided(second, "fp32") == "bf16"
    assert second.decide("device", lambda: "cpu") == "cpu"
    assert second.finish().manifest["decisions"] == {"precision": "bf16", "device": "cpu"}
    assert decided(artifact.begin(tmp_path / "a", "boil", Boil()), "fp32") == "fp32"


def test_a_full_disk_leaves_no_manifest(small_disk: Path) -> None:
    draft = artifact.begin(small_disk / "a", "boil", Boil())
    (small_disk / "a/large.bin").write_bytes(b"x" * 150_000)
    draft.metrics["notes"] = "y" * 200_000
    with pytest.raises(OSError, match="No space left"):
        draft.finish()
    assert artifact.find(small_disk / "a") is None
    assert sorted(p.name for p in (small_disk / "a").iterdir()) == ["large.bin", "recipe.yaml", STAGE]
    draft.metrics["notes"] = ""
    draft.finish().verify()
