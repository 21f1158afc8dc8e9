"""A file is written completely or not at all."""

from __future__ import annotations

import os

import pytest

from winnow.common.atomic_write import atomic_write


def test_a_file_appears_at_the_end_with_the_ordinary_mode(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "deep" / "file") as stream:
            stream.write(b"all")
            assert not (tmp_path / "deep" / "file").exists()
    finally:
        os.umask(old)
    assert (tmp_path / "deep" / "file").read_bytes() == b"all"
    assert (tmp_path / "deep" / "file").stat().st_mode & 0o777 == 0o640


def test_the_old_content_stays_if_writing_fails(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(TypeError), atomic_write(tmp_path / "file") as stream:
        stream.writelines([b"half", None])
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_two_writers_may_overlap_and_the_last_one_wins(tmp_path):
    with atomic_write(tmp_path / "file") as first, atomic_write(tmp_path / "file") as second:
        first.write(b"1")
        second.write(b"2")
    assert (tmp_path / "file").read_bytes() == b"1"
