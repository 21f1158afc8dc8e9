"""Pictures put in folders by label: whatever labels and files are called, each lies in OUT and none over another."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from winnow.common.errors import InputError
from winnow.curate.export.image_folder import UNFAMILIAR, ImageFolderWriter
from winnow.embed.images import PictureError


@pytest.fixture
def one(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/one.jpg").write_bytes(b"one")
    return tmp_path / "in/one.jpg"


def below(out: Path) -> dict[str, bytes]:
    """Path -> content of every file below a folder, links followed."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("copy", [False, True])
def test_pictures_lie_in_folders_by_label_and_unfamiliar_ones_in_their_own(one, tmp_path, monkeypatch, copy):
    monkeypatch.chdir(one.parent)
    sorter = ImageFolderWriter(Path("../deep/out"), copy, [Path("one.jpg"), Path("no*such")])
    assert sorter.put(Path("one.jpg"), "roses") == tmp_path / "deep/out/roses/one.jpg"
    assert sorter.put(Path("one.jpg"), None) == tmp_path / "deep/out/_unfamiliar/one.jpg"
    assert below(tmp_path / "deep/out") == {"roses/one.jpg": b"one", "_unfamiliar/one.jpg": b"one"}
    put = tmp_path / "deep/out/roses/one.jpg"
    assert put.is_symlink() == (not copy)
    if not copy:
        assert put.readlink() == one
    assert os.listdir(one.parent) == ["one.jpg"]


def test_a_link_to_a_link_leads_to_the_file_itself(one, tmp_path):
    (tmp_path / "a.jpg").symlink_to(one)
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    put = ImageFolderWriter(tmp_path / "out", False).put(tmp_path / "b.jpg", "x")
    assert (put.name, put.readlink()) == ("b.jpg", one)


def test_of_two_that_make_one_folder_the_second_is_told(one, tmp_path, monkeypatch):
    made = Path.mkdir

    def later(self: Path, *args: object, **how: object) -> None:
        made(self)
        made(self, *args, **how)

    monkeypatch.setattr(Path, "mkdir", later)
    with pytest.raises(InputError, match="out: File exists: name another folder"):
        ImageFolderWriter(tmp_path / "out", False)


@pytest.mark.parametrize("was_there", [False, True])
def test_what_is_taken_back_is_only_what_was_put(one, tmp_path, was_there):
    if was_there:
        (tmp_path / "out").mkdir()
    sorter = ImageFolderWriter(tmp_path / "out", False)
    put = [sorter.put(one, label).relative_to(tmp_path / "out").as_posix() for label in ("x", "y")]
    (tmp_path / "out/x/other.txt").write_bytes(b"of others")
    sorter.remove(put)
    assert below(tmp_path / "out") == {"x/other.txt": b"of others"}
    (tmp_path / "out/x/other.txt").unlink()
    sorter.remove(put)
    assert (tmp_path / "out").exists() is was_there
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
    sorter = ImageFolderWriter(tmp_path / "deep/out", False)
    sorter.put(one, label)
    assert os.listdir(tmp_path / "deep/out") == [LABELS[label]]
    assert os.listdir(tmp_path / "deep") == ["out"]
    assert (tmp_path / "deep/out" / LABELS[label] / "one.jpg").read_bytes() == b"one"


def test_no_two_labels_share_a_folder_and_none_takes_that_of_the_unfamiliar(one, tmp_path):
    labels = ["a/b", "a:b", "a_b", "Red", "red", "caf\u00e9", "cafe\u0301", UNFAMILIAR, UNFAMILIAR.upper(), None]
    sorter = ImageFolderWriter(tmp_path / "out", False)
    first = [sorter.put(one, label).parent.name for label in labels]
    assert len(set(first)) == len(labels)
    assert first[0] == "a_b"
    assert first[1].startswith("a_b-")
    assert (first[7].startswith("_unfamiliar-"), first[8].startswith("_UNFAMILIAR-")) == (True, True)
    assert first[9] == UNFAMILIAR
    assert [sorter.put(one, label).parent.name for label in labels] == first


@pytest.mark.parametrize("copy", [False, True])
def test_files_of_one_name_all_have_a_place(tmp_path, copy):
    long, odd = "ä" * 125 + ".jpg", os.fsdecode(b"caf\xe9\n.jpg")
    contents = {}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("1.jpg", long, odd, ".hidden.jpg", "two.tar.gz", "-rf"):
            contents[tmp_path / folder / name] = os.fsencode(f"{folder} {name}")
            (tmp_path / folder / name).write_bytes(contents[tmp_path / folder / name])
    sorter = ImageFolderWriter(tmp_path / "out", copy)
    put = {sorter.put(file, "x"): data for file, data in contents.items()}
    put |= {sorter.put(tmp_path / "a/1.jpg", "x"): b"a 1.jpg" for _ in range(2)}
    assert len(put) == 14
    assert {path: path.read_bytes() for path in put} == put
    names = sorted(path.name for path in put)
    assert {"1.jpg", long, odd, "_.hidden.jpg", "two.tar.gz", "-rf"} < set(names)
    assert not any(name.startswith(".") for name in names)
    assert max(len(os.fsencode(name)) for name in names) == 255
    other = [name for name in names if name.startswith("1-")]  # of b, and of a for the second and the third time
    assert sorted(len(name) for name in other) == [len("1-12345678.jpg")] * 2 + [len("1-12345678-2.jpg")]


@pytest.mark.parametrize("copy", [False, True])
def test_a_picture_that_is_gone_is_told_and_the_rest_goes_on(one, tmp_path, copy):
    sorter = ImageFolderWriter(tmp_path / "out", copy)
    (tmp_path / "dangling.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    told = {"gone.jpg": "no such file", "dangling.jpg": "a link to nothing", "pipe.jpg": "not a regular file"}
    for name, said in (told | {"in": "not a regular file", "nul\0.jpg": "no such file"}).items():
        with pytest.raises(PictureError, match=said):
            sorter.put(tmp_path / name, "x")
    assert os.listdir(tmp_path / "out") == []  # no folder without a picture
    assert sorter.put(one, "x").read_bytes() == b"one"


@pytest.mark.parametrize("where", ["in", "in/out", "in/deep/er/out", "link/out"])
def test_out_is_not_inside_a_folder_of_the_pictures(one, tmp_path, where):
    (tmp_path / "link").symlink_to(one.parent)
    with pytest.raises(InputError, match=r"would lie inside the pictures \(.*in\): name a folder outside of them"):
        ImageFolderWriter(Path(where), False, [Path("in")])
    assert os.listdir(one.parent) == ["one.jpg"]


def test_out_must_be_new_or_empty(one, tmp_path):
    with pytest.raises(InputError, match="in is not empty: name a new folder"):
        ImageFolderWriter(one.parent, False)
    with pytest.raises(InputError, match=r"one\.jpg is a file: name a new folder"):
        ImageFolderWriter(one, False)
    with pytest.raises(InputError, match=r"one\.jpg/out: Not a directory|one\.jpg/out cannot be written to"):
        ImageFolderWriter(one / "out", False)
    (tmp_path / "empty").mkdir()
    ImageFolderWriter(tmp_path / "empty", False).put(one, "x")
    assert below(tmp_path / "empty") == {"x/one.jpg": b"one"}


def test_where_no_links_can_be_made_it_asks_for_copies_before_the_work(one, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(InputError, match="links cannot be made there, by this system or this user: use --copy"):
        ImageFolderWriter(tmp_path / "out", False)
    assert below(tmp_path / "out") == {}
    assert ImageFolderWriter(tmp_path / "out", True).put(one, "x").read_bytes() == b"one"


@pytest.fixture
def small(tmp_path):
    """A disk of 64 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_on_a_full_disk_what_was_put_stays_and_nothing_is_cut_off(one, small):
    sorter = ImageFolderWriter(small / "out", True)
    sorter.put(one, "x")
    (one.parent / "large.jpg").write_bytes(bytes(100_000))
    with pytest.raises(InputError) as caught:
        sorter.put(one.parent / "large.jpg", "x")
    advice = "what lies there stays: make room, or name another folder"
    assert str(caught.value) == f"{small}/out: No space left on device; {advice}"
    assert below(small) == {"out/x/one.jpg": b"one"}


def test_a_disk_that_cannot_be_written_to_is_one_line(one, small):
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with pytest.raises(InputError, match=r"^/.*small/out: Read-only file system: name another folder$"):
        ImageFolderWriter(small / "out", False)
