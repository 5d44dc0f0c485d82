"""`danlu pretrain --from`: what is new learns first, the old language is read again, and what is forgotten is told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, load, save
from danlu.cli import read
from danlu.model.hub import load_model, read_config
from danlu.plan.scaling import learning_rate
from danlu.recipes import clean, continuing, tokenize
from danlu.recipes.clean import Clean
from danlu.recipes.continuing import batches, windows_of
from danlu.recipes.deriving import run_tokens
from danlu.recipes.mix import Mix, open_training
from danlu.recipes.mix import run as mix
from danlu.recipes.pretrain import Pretrain, Stages, run
from danlu.recipes.shape import Shape
from danlu.recipes.tokenize import Tokenize
from danlu.tokens.batches import Batch
from danlu.tokens.extending.note import EXTENSION
from danlu.tokens.mixture import MixedBatches
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training.train import train_bpe

FIRST = 330  # of the 347 rows that the tokenizer of the world has


@pytest.fixture(scope="module")
def new(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens of another language, with the tokenizer of the world."""
    root = tmp_path_factory.mktemp("new")
    lines = [{"text": f"甲{n}喜欢乙{n % 7}，乙{n % 7}喜欢甲{n}。" * 4} for n in range(60)]
    (root / "zh.jsonl").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    cleaned = clean.run(Clean((str(root / "zh.jsonl"),), out=root / "clean", validation_share=0.1))
    return tokenize.run(Tokenize(data=cleaned.path, tokenizer=made / "tokenizer", out=root / "tokens")).path


def recipe(made: Path, data: Path, out: Path, **changes: Any) -> Pretrain:
    values: dict[str, Any] = {"tokens": "3K", "length": 64, "batch_tokens": 256, "precision": "fp32", "evaluations": 1}
    return Pretrain(data=data, out=out, **{"from_model": made / "pretrain"} | values | changes)


def rows(path: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (path / "metrics.jsonl").read_text().splitlines()) if row["kind"] == kind]


def test_a_model_learns_on_and_what_it_forgets_is_told(
    made: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = run(recipe(made, new, tmp_path / "out", replay=made / "tokens", evaluations=2))
    before, *_, after = rows(trained.path, "eval")
    old = rows(made / "pretrain", "eval")[-1]
    assert before["step"] == 0
    assert before["bits_per_byte_replay"] == pytest.approx(old["bits_per_byte"], abs=1e-6)
    shared = {key for key in old if key.startswith("bits_per_byte/")}
    assert shared
    for key in shared:
        again = key.replace("/", "/replay/", 1)
        assert before[again] == pytest.approx(old[key], abs=1e-6)
        assert again in after
    assert after["bits_per_byte"] < 0.8 * before["bits_per_byte"]
    change = trained.metrics["change"]
    assert change["bits_per_byte"] == [before["bits_per_byte"], after["bits_per_byte"]]
    assert change["bits_per_byte_replay"] == [before["bits_per_byte_replay"], after["bits_per_byte_replay"]]
    assert trained.metrics["bits_per_byte"] == after["bits_per_byte"]
    assert "bits per byte (-" in capsys.readouterr().err
    assert read_config(trained.path) == read_config(made / "pretrain")
    assert set(trained.manifest["inputs"]) == {"data", "from", "replay"}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (trained.path / name).read_bytes() == (made / "pretrain" / name).read_bytes()


def test_without_new_rows_everything_learns_at_once(made: Path, new: Path, tmp_path: Path) -> None:
    trained = run(recipe(made, new, tmp_path / "out"))
    assert {row["learns"] for row in rows(trained.path, "train")} == {"all"}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


def test_new_rows_alone(made: Path, new: Path, tmp_path: Path) -> None:
    first = 100  # some of the bytes of Chinese come after it
    run(recipe(made, new, tmp_path / "out", new_rows_from=first, stages=Stages(1.0, 0.0)))
    before, after = weights(made / "pretrain"), weights(tmp_path / "out")
    for name, value in before.items():
        table = name in ("model.embed_tokens.weight", "lm_head.weight")
        assert torch.equal(value[:first] if table else value, after[name][:first] if table else after[name])
        assert not table or not torch.equal(value[first:], after[name][first:])


def test_embeddings_alone(made: Path, new: Path, tmp_path: Path) -> None:
    run(recipe(made, new, tmp_path / "out", stages=Stages(embeddings=1.0)))
    before, after = weights(made / "pretrain"), weights(tmp_path / "out")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"model.embed_tokens.weight", "lm_head.weight"}


@pytest.fixture
def extended(made: Path, tmp_path: Path) -> Path:
    """The model as an extension would leave it: with a note on which rows are new."""
    path = tmp_path / "extended"
    shutil.copytree(made / "pretrain", path)
    note(path, FIRST)
    return path


def note(path: Path, first: object) -> None:
    (path / EXTENSION).write_text(json.dumps({"old_vocab": first, "added": 20, "init": "subword"}))


def test_an_extension_says_which_rows_are_new(made: Path, new: Path, extended: Path, tmp_path: Path) -> None:
    trained = run(recipe(made, new, tmp_path / "out", from_model=extended, tokens="5120"))
    learned = [row["learns"] for row in rows(trained.path, "train")]
    assert learned == ["new rows"] * 2 + ["embeddings"] * 2 + ["all"] * 16  # a tenth of the steps each
    assert not (trained.path / EXTENSION).exists()  # they are new no more

    def first(**given: Any) -> int | None:
        return continuing.first_row(recipe(made, new, tmp_path / "x", from_model=extended, **given), config)

    config = read_config(extended)
    assert (first(), first(new_rows_from=340)) == (FIRST, 340)
    note(extended, config.vocab_size)  # nothing was added
    assert first() is None
    for wrong in ("many", None, config.vocab_size + 1, 0):
        note(extended, wrong)
        with pytest.raises(UserError, match=r"extension\.json"):
            first()


def test_each_stage_warms_up_to_a_share_of_the_learning_rate(made: Path, new: Path, tmp_path: Path) -> None:
    peaks = {}
    for share in (0.1, 0.5):
        given: dict[str, Any] = {"stages": Stages(embeddings=0.5), "rewarm": share, "tokens": "10240"}
        trained = run(recipe(made, new, tmp_path / str(share), **given))
        lr = [row["lr"] for row in rows(trained.path, "train")]
        assert lr[0] < max(lr[:20])
        assert lr[20] < max(lr[20:])
        assert max(lr[:20]) == max(lr[20:])
        peaks[share] = max(lr)
    lr = learning_rate(read_config(made / "pretrain").matrix_parameters(), 256, 512).value
    assert peaks == {share: pytest.approx(lr * share) for share in peaks}


def test_replay_has_its_share_of_the_tokens(made: Path, new: Path, tmp_path: Path) -> None:
    data, replay = open_training(new), open_training(made / "tokens")
    for share in (0.25, 0.6):
        source = batches(data, replay, share, batch_size=4, length=64, pad_id=0, seed=0)
        assert isinstance(source, MixedBatches)
        for _ in range(40):
            next(source)
        dealt = source.dealt
        assert set(dealt) == {"data", "replay"}
        assert dealt["replay"] / sum(dealt.values()) == pytest.approx(share, abs=0.02)
    config = read_config(made / "pretrain")
    for nothing in (None, "0"):
        plain, half = recipe(made, new, tmp_path, tokens=nothing), {"replay": made / "tokens", "replay_share": 0.5}
        both = recipe(made, new, tmp_path, tokens=nothing, **half)
        assert run_tokens(plain, config, data.tokens).value == data.tokens
        assert run_tokens(both, config, data.tokens).value == 2 * data.tokens  # an epoch of the data all the same


def test_mixtures_keep_their_shares_beside_the_replay(made: Path, new: Path, tmp_path: Path) -> None:
    mixed = mix(Mix((new, made / "tokens"), out=tmp_path / "mix", weights=(3, 1), budget="2K")).path
    source = batches(open_training(mixed), open_training(new), 0.2, batch_size=8, length=64, pad_id=0, seed=0)
    assert isinstance(source, MixedBatches)
    for _ in range(40):
        next(source)
    total = sum(source.dealt.values())
    shares = sorted(round(tokens / total, 2) for tokens in source.dealt.values())
    assert shares == [pytest.approx(value, abs=0.011) for value in (0.2, 0.2, 0.6)]
    with pytest.raises(UserError, match="was planned for 2000 tokens, and the run reads 2112"):
        run(recipe(made, mixed, tmp_path / "out", replay=new))


def test_a_stopped_run_ends_where_an_undisturbed_one_does(
    made: Path, new: Path, extended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(out: str) -> str:
        given: dict[str, Any] = {"from_model": extended, "replay": made / "tokens", "checkpoint_every": 3}
        found = run(recipe(made, new, tmp_path / out, **given, stages=Stages(0.3, 0.3)))
        return str(found.manifest["outputs"]["model.safetensors"])

    undisturbed, deal = trained("one"), MixedBatches.__next__
    for after in (2, 5, 8):  # in each stage
        dealt: list[None] = []

        def stop(source: MixedBatches, dealt: list[None] = dealt, after: int = after) -> Batch:
            dealt.append(None)
            if len(dealt) == after:
                raise KeyboardInterrupt
            return deal(source)

        with monkeypatch.context() as patched:
            patched.setattr(MixedBatches, "__next__", stop)
            with pytest.raises(KeyboardInterrupt):
                trained("two")
    assert trained("two") == undisturbed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "20M"}, "recipe: size: the model at .* has its own. Leave it out, or --from"),
        ({"size": "10M"}, "recipe: size: the model at .* has its own"),  # what a new model has, said all the same
        ({"shape": Shape(layers=3)}, "recipe: shape: the model at .* has its own"),
        ({"from_model": None, "replay": Path("x")}, "recipe: replay: only a model that there is .*run 'danlu mix'"),
        ({"from_model": None, "new_rows_from": 3}, "recipe: new_rows_from: only a model that there is"),
        ({"from_model": None, "stages": Stages(0.5)}, "recipe: stages: only a model that there is"),
        ({"from_model": None, "rewarm": 0.5}, "recipe: rewarm: only a model that there is"),
        ({"rewarm": 0.0}, "recipe: rewarm: must be above 0"),
        ({"replay_share": 0.5}, "recipe: replay_share: there is nothing to replay"),
        ({"replay": Path("x"), "replay_share": 1.0}, "recipe: replay_share: must be above 0 and below 1"),
        ({"out": Path("made/pretrain")}, "recipe: out made/pretrain: is also read from"),
    ],
)
def test_what_says_nothing_together_is_refused(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"data": Path("data"), "out": Path("out"), "from_model": Path("made/pretrain")}
    with pytest.raises(UserError, match=message):
        Pretrain(**given | changes)


@pytest.mark.parametrize("shares", [(0.6, 0.6), (-0.1, 0.0), (1.1, None)])
def test_stages_are_shares(shares: tuple[float, float | None]) -> None:
    with pytest.raises(UserError, match="are shares"):
        Stages(*shares)


def test_what_does_not_fit_the_model_is_refused(made: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"stages\.new_rows: there are no new rows.*Give --new-rows-from"):
        run(recipe(made, new, out, stages=Stages(new_rows=0.5)))
    with pytest.raises(UserError, match="new_rows_from: the new rows cannot begin at 348: the model has 347"):
        run(recipe(made, new, out, new_rows_from=348))
    with pytest.raises(UserError, match="length 128 is longer than the 64 tokens"):
        run(recipe(made, new, out, length=128))
    words = tmp_path / "words"
    train_bpe(["another tokenizer of another text"], 300).save(words)
    odd = tokenize.run(Tokenize(data=new.parent / "clean", tokenizer=words, out=tmp_path / "odd")).path
    for given in ({"data": odd}, {"data": new, "replay": odd}):
        with pytest.raises(UserError, match=r"odd: was made with another tokenizer .*Make it anew: danlu tokenize"):
            run(recipe(made, out=out, **given))
    assert not out.exists()


def test_the_flag_is_from_and_the_key_is_from_model(tmp_path: Path) -> None:
    flags = ["--data", "d", "--from", "m", "--replay", "r", "--replay-share", "0.5", "--stages.embeddings", "0.2"]
    found = read(Pretrain, "pretrain", flags)
    assert found == Pretrain(
        data=Path("d"), from_model=Path("m"), replay=Path("r"), replay_share=0.5, stages=Stages(embeddings=0.2)
    )
    save(found, tmp_path / "recipe.yaml")
    assert load(Pretrain, tmp_path / "recipe.yaml") == found
    assert from_dict(Pretrain, {"data": "d", "from_model": "m"}).from_model == Path("m")


def test_measuring_takes_windows_of_the_training(made: Path) -> None:
    model = load_model(made / "pretrain")
    with windows_of(model, 16):
        assert model.config.max_length == 16
    assert model.config.max_length == 64
    with windows_of(model, 128):
        assert model.config.max_length == 64


def test_a_tokenizer_is_the_same_whatever_its_files_look_like(made: Path, tmp_path: Path) -> None:
    tokenizer, path = Tokenizer.load(made / "tokenizer"), tmp_path / "tokenizer"
    tokenizer.with_config(model_max_length=7).save(path)
    (path / "tokenizer.json").write_text(json.dumps(json.loads((path / "tokenizer.json").read_text())))
    continuing.same_tokenizer(tokenizer, made, tmp_path)
