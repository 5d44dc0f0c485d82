"""Every sentence says what, where and what to do."""

import errno
from pathlib import Path

import pytest

from danlu.base.errors import MissingExtra, UserError, from_os_error, nearest


def test_the_sentence() -> None:
    assert str(UserError("is bad")) == "is bad"
    assert str(UserError("is bad", where="a.txt:3")) == "a.txt:3: is bad"
    assert str(UserError("is bad", where=Path("a.txt"), remedy="Mend it")) == "a.txt: is bad. Mend it"


def test_a_missing_library_names_its_pip_line() -> None:
    sentence = str(MissingExtra("transformers", "hub", "opening this model"))
    assert sentence == (
        'opening this model needs transformers, which is not installed. Install it with: pip install "danlu[hub]"'
    )


def test_the_nearest_name() -> None:
    assert nearest("laers", ["layers", "heads"]) == "Did you mean 'layers'?"
    assert nearest("zzz", ["layers", "heads"]) == "Known names: heads, layers"


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "no permission"),
        (errno.ENOENT, "no such file"),
    ],
)
def test_what_a_person_can_mend(number: int, problem: str) -> None:
    found = from_os_error(OSError(number, "", "/data/x"))
    assert found is not None
    assert str(found).startswith(f"{Path('/data/x')}: {problem}")
    assert found.remedy


def test_other_system_errors_keep_their_traceback() -> None:
    assert from_os_error(OSError(errno.EIO, "", "/data/x")) is None
    assert from_os_error(OSError(errno.ENOENT, "")) is None
