"""Pictures are written to folders by label: whatever the names, each is inside OUT and none replaces another."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support.errors import input_error
from support.files import read_files

from winnow.curate.export.image_folder import UNFAMILIAR, ImageFolderWriter
from winnow.embed.images import PictureError


@pytest.fixture
def one(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/one.jpg").write_bytes(b"one")
    return tmp_path / "in/one.jpg"


@pytest.mark.parametrize("copy", [False, True])
def test_pictures_are_in_folders_by_label_and_unfamiliar_ones_in_their_own(one, tmp_path, monkeypatch, copy):
    monkeypatch.chdir(one.parent)
    writer = ImageFolderWriter(Path("../deep/out"), copy, [Path("one.jpg"), Path("no*such")])
    assert writer.add(Path("one.jpg"), "roses") == tmp_path / "deep/out/roses/one.jpg"
    assert writer.add(Path("one.jpg"), None) == tmp_path / "deep/out/_unfamiliar/one.jpg"
    assert read_files(tmp_path / "deep/out") == {"roses/one.jpg": b"one", "_unfamiliar/one.jpg": b"one"}
    added = tmp_path / "deep/out/roses/one.jpg"
    assert added.is_symlink() == (not copy)
    if not copy:
        assert added.readlink() == one
    assert os.listdir(one.parent) == ["one.jpg"]


def test_a_link_to_a_link_points_to_the_file_itself(one, tmp_path):
    (tmp_path / "a.jpg").symlink_to(one)
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    added = ImageFolderWriter(tmp_path / "out", False).add(tmp_path / "b.jpg", "x")
    assert (added.name, added.readlink()) == ("b.jpg", one)


def test_of_two_processes_that_create_one_folder_the_second_is_refused(one, tmp_path, monkeypatch):
    mkdir = Path.mkdir

    def too_late(self: Path, *args: object, **options: object) -> None:
        mkdir(self)
        mkdir(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", too_late)
    with input_error("out: File exists$", "another-folder"):
        ImageFolderWriter(tmp_path / "out", False)


@pytest.mark.parametrize("existed", [False, True])
def test_only_added_pictures_are_removed(one, tmp_path, existed):
    if existed:
        (tmp_path / "out").mkdir()
    writer = ImageFolderWriter(tmp_path / "out", False)
    added = [writer.add(one, label).relative_to(tmp_path / "out").as_posix() for label in ("x", "y")]
    (tmp_path / "out/x/other.txt").write_bytes(b"of others")
    writer.remove(added)
    assert read_files(tmp_path / "out") == {"x/other.txt": b"of others"}
    (tmp_path / "out/x/other.txt").unlink()
    writer.remove(added)
    assert (tmp_path / "out").exists() is existed
    assert one.read_bytes() == b"one"


LABELS = {
    "a/b": "a_b",
    "..": "_",
    "../../evil": "_.._.._evil",
    "/etc": "_etc",
    "CON": "_CON",
    "": "_",
    "~": "~",
    "x" * 400: "x" * 255,
    "花" * 100: "花" * 85,
    "=1+1": "=1+1",
    "<b>\n\x1b[2J\u2028": "_b___[2J_",
    "lone \ud800 surrogate": "lone _ surrogate",
    "%ed%a0%80": "%ed%a0%80",
}


@pytest.mark.parametrize("label", LABELS)
def test_any_label_becomes_one_folder_inside(one, tmp_path, label):
    writer = ImageFolderWriter(tmp_path / "deep/out", False)
    writer.add(one, label)
    assert os.listdir(tmp_path / "deep/out") == [LABELS[label]]
    assert os.listdir(tmp_path / "deep") == ["out"]
    assert (tmp_path / "deep/out" / LABELS[label] / "one.jpg").read_bytes() == b"one"


def test_no_two_labels_share_a_folder_nor_use_that_of_the_unfamiliar(one, tmp_path):
    labels = ["a/b", "a:b", "a_b", "Red", "red", "caf\u00e9", "cafe\u0301", UNFAMILIAR, UNFAMILIAR.upper(), None]
    writer = ImageFolderWriter(tmp_path / "out", False)
    first = [writer.add(one, label).parent.name for label in labels]
    assert len(set(first)) == len(labels)
    assert first[0] == "a_b"
    assert first[1].startswith("a_b-")
    assert (first[7].startswith("_unfamiliar-"), first[8].startswith("_UNFAMILIAR-")) == (True, True)
    assert first[9] == UNFAMILIAR
    assert [writer.add(one, label).parent.name for label in labels] == first


@pytest.mark.parametrize("copy", [False, True])
def test_files_of_one_name_are_all_kept(tmp_path, copy):
    long, odd = "ä" * 125 + ".jpg", os.fsdecode(b"caf\xe9\n.jpg")
    contents = {}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("1.jpg", long, odd, ".hidden.jpg", "two.tar.gz", "-rf"):
            contents[tmp_path / folder / name] = os.fsencode(f"{folder} {name}")
            (tmp_path / folder / name).write_bytes(contents[tmp_path / folder / name])
    writer = ImageFolderWriter(tmp_path / "out", copy)
    added = {writer.add(file, "x"): data for file, data in contents.items()}
    added |= {writer.add(tmp_path / "a/1.jpg", "x"): b"a 1.jpg" for _ in range(2)}
    assert len(added) == 14
    assert {path: path.read_bytes() for path in added} == added
    names = sorted(path.name for path in added)
    assert {"1.jpg", long, odd, "_.hidden.jpg", "two.tar.gz", "-rf"} < set(names)
    assert not any(name.startswith(".") for name in names)
    assert max(len(os.fsencode(name)) for name in names) == 255
    other = [name for name in names if name.startswith("1-")]  # of b, and of a for the second and the third time
    assert sorted(len(name) for name in other) == [len("1-12345678.jpg")] * 2 + [len("1-12345678-2.jpg")]


@pytest.mark.parametrize("copy", [False, True])
def test_a_missing_picture_is_reported_and_others_can_be_added(one, tmp_path, copy):
    writer = ImageFolderWriter(tmp_path / "out", copy)
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = {"gone.jpg": "no such file", "dangling.jpg": "a broken symbolic link", "pipe.jpg": "not a regular file"}
    for name, reason in (reasons | {"in": "not a regular file", "nul\0.jpg": "no such file"}).items():
        with pytest.raises(PictureError, match=reason):
            writer.add(tmp_path / name, "x")
    assert os.listdir(tmp_path / "out") == []  # no folder without a picture
    assert writer.add(one, "x").read_bytes() == b"one"


@pytest.mark.parametrize("where", ["in", "in/out", "in/deep/er/out", "link/out"])
def test_out_is_not_inside_a_folder_of_the_pictures(one, tmp_path, where):
    (tmp_path / "link").symlink_to(one.parent)
    with input_error(r"would lie inside the pictures \(.*in\)$", "folder-outside"):
        ImageFolderWriter(Path(where), False, [Path("in")])
    assert os.listdir(one.parent) == ["one.jpg"]


def test_out_must_be_new_or_empty(one, tmp_path):
    with input_error("in is not empty$", "new-folder"):
        ImageFolderWriter(one.parent, False)
    with input_error(r"one\.jpg is a file$", "new-folder"):
        ImageFolderWriter(one, False)
    with input_error(r"one\.jpg/out: Not a directory|one\.jpg/out cannot be written to", "another-folder"):
        ImageFolderWriter(one / "out", False)
    (tmp_path / "empty").mkdir()
    ImageFolderWriter(tmp_path / "empty", False).add(one, "x")
    assert read_files(tmp_path / "empty") == {"x/one.jpg": b"one"}


def test_where_links_are_not_possible_it_fails_before_the_work(one, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with input_error("this system or this user cannot create links there$", "copy"):
        ImageFolderWriter(tmp_path / "out", False)
    assert read_files(tmp_path / "out") == {}
    assert ImageFolderWriter(tmp_path / "out", True).add(one, "x").read_bytes() == b"one"


@pytest.fixture
def small(tmp_path):
    """A disk of 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_on_a_full_disk_added_pictures_stay_and_none_is_truncated(one, small):
    writer = ImageFolderWriter(small / "out", True)
    writer.add(one, "x")
    (one.parent / "large.jpg").write_bytes(bytes(100_000))
    message = f"^{small}/out: No space left on device; the pictures written so far stay$"
    with input_error(message, "room-or-folder"):
        writer.add(one.parent / "large.jpg", "x")
    assert read_files(small) == {"out/x/one.jpg": b"one"}


def test_a_read_only_disk_is_refused(one, small):
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with input_error(r"^/.*small/out: Read-only file system$", "another-folder"):
        ImageFolderWriter(small / "out", False)
