"""Every file is yielded once, whatever its name, and links never form endless loops."""

from __future__ import annotations

import os
import socket

import pytest

from winnow.curate.walk import walk


def refuse(path, error):
    raise AssertionError(f"{path}: {error}")


def paths(root):
    return [entry.path for entry in walk(root, refuse)]


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_an_empty_folder_has_no_files(tmp_path):
    assert paths(tmp_path) == []
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert paths(tmp_path) == []


def test_files_come_in_the_order_of_names_at_every_depth(tmp_path):
    fill(tmp_path, "b/1", "a/2", "a/c/d/e", "z", "a/1", "a/c/0")
    assert paths(tmp_path) == ["z", "a/1", "a/2", "a/c/0", "a/c/d/e", "b/1"]


def test_an_entry_has_size_and_time(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    os.utime(tmp_path / "a", ns=(7, 123_456_789))
    assert list(walk(tmp_path, refuse)) == [("a", 5, 123_456_789)]


def test_hidden_files_and_the_litter_of_systems_are_skipped(tmp_path):
    fill(tmp_path, ".hidden", ".git/a", "__MACOSX/a", "@eaDir/a", "a/.DS_Store", "a/b")
    assert paths(tmp_path) == ["a/b"]


def test_odd_names_are_yielded(tmp_path):
    names = ["a b", "two\nlines", "🌷", "-rf", "100%", "[x]", 'it\'s "q"', "back\\slash", " ", "*?"]
    fill(tmp_path, *names)
    assert sorted(paths(tmp_path)) == sorted(names)


def test_a_name_that_is_not_utf8_is_escaped_also_as_a_folder(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9/\xff%41")).write_bytes(b"x")
    assert paths(tmp_path) == ["caf%E9/%FF%2541"]


def test_loops_of_links_end(tmp_path):
    fill(tmp_path, "photos/a/1", "photos/b/2", "elsewhere/3")
    root = tmp_path / "photos"
    (root / "a" / "self").symlink_to(".")
    (root / "a" / "b").symlink_to("../b")
    (root / "b" / "a").symlink_to("../a")
    (root / "b" / "root").symlink_to(root)
    (root / "round").symlink_to("round")
    assert paths(root) == ["round", "a/1", "b/2"]


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    fill(tmp_path, "photos/1", "private/2")
    (tmp_path / "photos" / "up").symlink_to(tmp_path)
    (tmp_path / "photos" / "all").symlink_to("/")
    assert paths(tmp_path / "photos") == ["1"]


def test_a_linked_folder_elsewhere_is_followed_once(tmp_path):
    fill(tmp_path, "photos/a/1", "elsewhere/2", "elsewhere/deep/3")
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "photos")
    assert paths(tmp_path / "photos") == ["a/1", "b/2", "b/deep/3"]


def test_real_folders_come_before_links_to_them(tmp_path):
    fill(tmp_path, "z/1")
    (tmp_path / "a").symlink_to("z")
    assert paths(tmp_path) == ["z/1"]


def test_a_linked_file_is_a_file(tmp_path):
    fill(tmp_path, "a")
    (tmp_path / "b").symlink_to("a")
    assert [(entry.path, entry.bytes) for entry in walk(tmp_path, refuse)] == [("a", 1), ("b", 1)]


def test_anything_but_a_regular_file_has_size_minus_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)  # the path of a socket has room for 100 characters
        server.bind("socket")
    assert {entry.path: entry.bytes for entry in walk(tmp_path, refuse)} == {"dangling": -1, "pipe": -1, "socket": -1}


def test_the_root_may_be_a_link(tmp_path):
    fill(tmp_path, "photos/1")
    (tmp_path / "link").symlink_to("photos")
    assert paths(tmp_path / "link") == ["1"]


@pytest.mark.parametrize(("gone", "reported"), [("", ""), ("a", "a/")])
def test_a_folder_that_cannot_be_listed_is_reported_and_the_rest_is_walked(tmp_path, monkeypatch, gone, reported):
    fill(tmp_path, "a/1", "b/2")
    real = os.scandir

    def scandir(folder):
        if str(folder) == str(tmp_path / gone):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    errors = []
    paths = [entry.path for entry in walk(tmp_path, lambda path, error: errors.append((path, error.errno)))]
    assert errors == [(reported, 13)]
    assert paths == (["b/2"] if gone else [])
