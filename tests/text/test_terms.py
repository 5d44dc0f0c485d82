"""Terms written one way: what is found, what is refused, and that twice is once for any table."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.text.document import Document
from danlu.text.terms import Case, Entry, Matcher, Terms, load

TABLE = """# variants → term
GPT4, gpt-4，Gpt 4 → GPT-4
帐号、账户号 -> 账号
长城 => 万里长城
c++ → C++
.net → .NET
口 → 嘴
"""


def table(folder: Path, text: str, name: str = "terms.txt") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def applied(step: Terms, text: str) -> str:
    result = step(Document(text, "t:1", "t"))
    assert isinstance(result, Document)
    return result.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("用GPT4写，gpt-4和Gpt 4", "用GPT-4写，GPT-4和GPT-4"),
        ("GPT40 aGPT4 GPT4_x GPT4.py", "GPT40 aGPT4 GPT4_x GPT4.py"),  # inside words and file names
        ("GPT4.", "GPT-4."),
        ("http://a.b/GPT4 `GPT4` me+GPT4@x.com", "http://a.b/GPT4 `GPT4` me+GPT4@x.com"),
        ("账户号和帐号", "账号和账号"),
        ("长城，万里长城", "万里长城，万里长城"),  # a term inside its own variant's term does not grow
        ("c++11 and c++", "C++11 and C++"),
        ("the .net and a.net", "the .NET and a.NET"),
        ("张口", "张嘴"),
        ("GPT-4 账号 C++", "GPT-4 账号 C++"),
        ("gpT4", "gpT4"),
        ("", ""),
    ],
)
def test_exact(tmp_path: Path, text: str, expected: str) -> None:
    assert applied(Terms(table(tmp_path, TABLE)), text) == expected


def test_places_are_counted(tmp_path: Path) -> None:
    result = Terms(table(tmp_path, TABLE))(Document("GPT4 帐号 GPT-4", "t:1", "t"))
    assert isinstance(result, Document)
    assert result.meta == {"changes": {"terms": 2}}
    same = Document("GPT-4", "t:1", "t")
    assert Terms(table(tmp_path, TABLE))(same) is same
    assert Terms()(same) is same


def test_any_case(tmp_path: Path) -> None:
    step = Terms(table(tmp_path, "gpt4 → GPT-4\nopenai → OpenAI\nstraße → Straße\n"), "ignore")
    assert applied(step, "OPENAI's gPT4, gpt-4 İ openai STRAßE") == "OpenAI's GPT-4, GPT-4 İ OpenAI Straße"


def test_the_longest_of_those_that_begin_first(tmp_path: Path) -> None:
    step = Terms(table(tmp_path, "深度 → 深\n深度学习 → DL\n学习率 → LR\n"))
    assert applied(step, "深度学习率") == "DL率"


@pytest.mark.parametrize(
    ("name", "text"), [("t.csv", '"GPT4","gpt 4, old",GPT-4\n'), ("t.tsv", "#x\tcomment\nGPT4\tgpt 4, old\tGPT-4\n")]
)
def test_rows_of_a_table(tmp_path: Path, name: str, text: str) -> None:
    assert applied(Terms(table(tmp_path, text, name)), "GPT4; gpt 4, old") == "GPT-4; GPT-4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a → b\n\na → c", r"terms\.txt:3: 'a' becomes 'c' here and 'b' in line 1"),
        ("a → b\nb → c", r"terms\.txt:1: writes 'b', where line 2 changes 'b' into 'c'"),
        ("x → a b\nb → c", r"terms\.txt:1: writes 'a b', where line 2 changes 'b' into 'c'"),
        ("甲 → 乙丙\n丙 → 丁", r"terms\.txt:1: writes '乙丙', where line 2 changes '丙' into '丁'"),
        ("a → b\nnothing", r"terms\.txt:2: no variant and term"),
        ("a → b → c", r"terms\.txt:1: no variant and term"),
        ("→ b", r"terms\.txt:1: no variant and term"),
        ("a →", r"terms\.txt:1: no variant and term"),
    ],
)
def test_what_cannot_stand_together_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Terms(table(tmp_path, text))


def test_case_decides_what_is_a_contradiction(tmp_path: Path) -> None:
    path = table(tmp_path, "gpt → GPT\nGpt → Gpt-x\n")
    Terms(path)
    with pytest.raises(UserError, match="becomes"):
        Terms(path, "ignore")


def test_wrong_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="recipe: case"):
        Terms(None, "upper")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no such file"):
        Terms(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        Terms(tmp_path / "latin.txt")


def test_a_text_that_would_turn_forever_stays() -> None:
    """Terms that are matched too prevent it for tables; without them this one has no end."""
    matcher = Matcher({"甲乙": Entry("甲丙", 1), "丙丁": Entry("乙丁", 2)}, "exact")
    assert matcher.apply("甲乙丁") == ("甲乙丁", 0)
    assert matcher.apply("甲乙") == ("甲丙", 1)


def test_thousands_of_terms(tmp_path: Path) -> None:
    rows = "\n".join(f"term{n}x, 词{n}号 → Term-{n}" for n in range(5000))
    step = Terms(table(tmp_path, rows))
    assert applied(step, "a term4999x, term4999xx and 词77号") == "a Term-4999, term4999xx and Term-77"


words = st.text("ab甲乙 -A", min_size=1, max_size=3).map(str.strip).filter(bool)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(words, words, max_size=5), st.text("ab甲乙 -A.", max_size=30), st.sampled_from(["exact", "ignore"])
)
def test_twice_is_once(pairs: dict[str, str], text: str, case: Case) -> None:
    """For any table at all, checked or not."""
    fold = str.lower if case == "ignore" else str
    entries = {fold(variant): Entry(term, 1) for variant, term in pairs.items()}
    entries |= {fold(term): Entry(term, 1) for term in pairs.values()}
    matcher = Matcher(entries, case)
    once, _ = matcher.apply(text)
    assert matcher.apply(once) == (once, 0)


def test_a_table_is_read_once(tmp_path: Path) -> None:
    path = table(tmp_path, "a → b\n")
    assert load(path, "exact") is load(path, "exact")
