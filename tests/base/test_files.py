"""A file is wholly there or not there, also when the disk is full."""

import errno
import hashlib
from pathlib import Path

import pytest

from danlu.base.errors import UserError, from_os_error
from danlu.base.files import BLOCK, atomic, existing, remove, sha256, write_text


def test_it_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep/a.txt"
    with atomic(path) as handle:
        handle.write("丹炉")
        handle.flush()
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "丹炉"
    with atomic(path, "wb") as handle:
        handle.write(b"\xff\r\n")
    assert path.read_bytes() == b"\xff\r\n"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_content(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write() -> None:
        with atomic(path) as handle:
            handle.write("new" * 100_000)
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_leaves_the_old_content(small_disk: Path) -> None:
    path = small_disk / "a.txt"
    write_text(path, "old")
    with pytest.raises(OSError) as caught:
        write_text(path, "new" * 1_000_000)
    assert caught.value.errno == errno.ENOSPC
    sentence = str(from_os_error(caught.value))
    assert sentence.startswith(f"{path}: no space left on the device. Free some space")
    assert "\n" not in sentence
    assert path.read_text() == "old"
    assert list(small_disk.iterdir()) == [path]


def test_an_error_of_the_block_keeps_its_own_name(tmp_path: Path) -> None:
    def write() -> None:
        with atomic(tmp_path / "a.txt"):
            raise OSError(errno.ENOENT, "", "other.txt")

    with pytest.raises(OSError) as caught:
        write()
    assert caught.value.filename == "other.txt"


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1])
def test_the_hash_is_of_all_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_existing(tmp_path: Path) -> None:
    assert existing(tmp_path) == tmp_path
    with pytest.raises(UserError, match=r"absent: no such file or directory\. Look again"):
        existing(tmp_path / "absent", remedy="Look again")


def test_remove_takes_links_and_not_what_they_point_to(tmp_path: Path) -> None:
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("tree", "link", "absent"):
        remove(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
