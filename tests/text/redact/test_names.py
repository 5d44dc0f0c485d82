"""Names next to titles."""

import pytest

from tests.text.redact.cases import private


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("欢迎王小明先生光临", ["王小明"]),
        ("请找欧阳修老师", ["欧阳修"]),
        ("姓名：李四，性别", ["李四"]),
        ("联系人: 买买提·艾力。", ["买买提·艾力"]),
        ("Dear Mr. John Smith, and Ms O'Neill", ["John Smith"]),
        ("Dr Mary J. Fisher-Jones said", ["Mary J. Fisher-Jones"]),
        ("任何老师都可以", []),
        ("各位先生", []),
        ("mr. nobody, Mr. President", ["President"]),  # a title that is taken for a name: the price of the option
    ],
)
def test_names(text: str, found: list[str]) -> None:
    assert private(text, "name") == found
