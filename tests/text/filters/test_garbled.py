"""Damage of each kind is found, and clean text of many kinds is left alone."""

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text.document import Document
from danlu.text.filters.garbled import Garbled
from tests.text.filters.judged import clean, reason
from tests.text.filters.texts import LINES, MANDARIN, PROSE, TEXTS

FRENCH = (
    "Le café où nous étions assis, près de la forêt, était déjà fermé; à l’été prochain, disait le garçon, tout sera "
    "différent. Les élèves, eux, répétaient leur leçon d’une voix égale, et personne n’écoutait. Où sont passées les "
    "années, pensais-je, et pourquoi ce goût de thé me ramène-t-il toujours à l’hôtel où ma mère travaillait?"
)
NOISE = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(40))
BASE64 = base64.b64encode(NOISE).decode()
LEFT_UNWRITTEN = "烫烫烫烫烫烫" + MANDARIN[:200] + "屯屯屯屯" + "烫烫烫" + "屯屯屯"
DAMAGED = {
    "undecodable": (PROSE[:300].replace("e", "\ufffd"), "replacement_characters"),
    "undecodable, decoded again": (PROSE[:300].replace("e", "ï¿½"), "replacement_characters"),
    "undecodable, in GBK": (MANDARIN[:60] + "锟斤拷锟斤拷锟斤拷锟斤拷", "replacement_characters"),
    "memory": (LEFT_UNWRITTEN, "replacement_characters"),
    "controls": (PROSE[:300].replace(" ", "\x02"), "strange_characters"),
    "icons of a private font": ("\ue001\ue002\ue003\ue004 " * 3 + PROSE[:200], "strange_characters"),
    "code points of nobody": ("\u0378\u0379\u0380\U000e0fff" + PROSE[:200], "strange_characters"),
    "half characters": ("\ud800\udc01\ud801\ud802" + PROSE[:200], "strange_characters"),
    "UTF-8 as Windows-1252": (FRENCH.encode().decode("cp1252", "ignore"), "mojibake"),
    "UTF-8 as Latin-1": (FRENCH.encode().decode("latin-1").replace("\x80", "").replace("\x99", ""), "mojibake"),
    "English quotation marks": (TEXTS["windows marks"].encode().decode("cp1252", "ignore"), "mojibake"),
    "UTF-8 as GBK": (MANDARIN.encode().decode("gbk", "ignore"), "mojibake"),
    "GBK as Latin-1": (MANDARIN.encode("gbk").decode("latin-1"), "mojibake"),
    "Base64": (PROSE[:600] + "\n" + BASE64, "random_strings"),
    "hashes": ("\n".join(hashlib.md5(bytes([n])).hexdigest() for n in range(30)), "random_strings"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_found(kind: str) -> None:
    text, why = DAMAGED[kind]
    assert reason(Garbled(), text) == why


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        MANDARIN,
        FRENCH,
        TEXTS["source code"],
        TEXTS["addresses"],
        "„So ein Spaß“, sagte sie, „macht mir großen Spaß“. " * 5,
        "NÃO É POSSÍVEL À TOA, DISSE A AVÓ; ÂNGULO E ÓRGÃO. " * 5,
        "Пусть будет так. 그러나 그렇지 않다. それでもいい。 لا بأس. ไม่เป็นไร 🙂🚀" * 4,
        "fortySevenCharactersOfAVeryLongJavaIdentifierName and AbstractSingletonProxyFactoryBean " * 5,
        "wasserstandsmeldungsübertragungseinrichtung " * 9,
        "Form feed\x0c, tab\t and other white space\x0b\x85\r\n are ordinary. " * 5,
        "涓涓细流，横浜中華街。" * 9,
        "",
    ],
)
def test_what_is_only_unusual_is_kept(text: str) -> None:
    assert reason(Garbled(), text) == ""


def test_a_few_hits_are_forgiven() -> None:
    assert reason(Garbled(), "Short \ufffd text.") == ""
    assert reason(Garbled(), "It â€™s short.") == ""


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"max_replacements": 0}, "undecodable"),
        ({"max_replacements": 0.5}, "undecodable, in GBK"),
        ({"max_strange": 0}, "controls"),
        ({"max_strange": 0.5}, "icons of a private font"),
        ({"max_mojibake": 0}, "GBK as Latin-1"),
        ({"max_mojibake": 0.9}, "UTF-8 as GBK"),
        ({"max_random": 0}, "hashes"),
        ({"max_random": 0.9}, "Base64"),
        ({"language": "en"}, "Base64"),
    ],
)
def test_every_key_changes_a_decision(change: dict[str, object], kind: str) -> None:
    text, why = DAMAGED[kind]
    assert reason(replace(Garbled(), **change), text) != why  # type: ignore[arg-type]


def test_the_threshold_is_passed_strictly() -> None:
    text = "\ufffd" * 5 + "x" * 995
    assert reason(Garbled(max_replacements=0.005), text) == ""
    assert reason(Garbled(max_replacements=0.005), text[:-1]) == "replacement_characters"


def test_clean_text_is_left_alone() -> None:
    """Not one; ``make bench NAME=filters`` shows it some thousand more."""
    step = Garbled()
    assert [document.id for document in clean() if step(document) is not document] == []


@pytest.mark.parametrize("change", [{"max_replacements": 1.1}, {"max_mojibake": -0.1}, {"max_random": float("nan")}])
def test_senseless_settings_are_named(change: dict[str, float]) -> None:
    with pytest.raises(UserError, match="recipe: "):
        Garbled(**change)  # type: ignore[arg-type]


def test_it_travels_as_plain_values() -> None:
    assert from_dict(Garbled, to_dict(Garbled()))(Document(LINES, "a:1", "a")).text == LINES


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text("Ã©â€\x80\ufffd锟斤拷\ud800\x00Aa9=\n")))
def test_never_raises(text: str) -> None:
    Garbled()(Document(text, "a:1", "a"))
