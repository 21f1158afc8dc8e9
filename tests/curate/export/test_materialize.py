"""The dataset as decided is a folder that stands for itself: whole or not at all, and never outside of itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import PACKAGE

from winnow.common.errors import InputError
from winnow.curate import dataset
from winnow.curate.decisions import decide
from winnow.curate.export.materialize import materialize
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.manifest import read, scan
from winnow.curate.workspace import Workspace, find_workspace


@pytest.fixture
def place(folder) -> Workspace:
    """The two classes of six of `folder`, scanned."""
    scan(find_workspace(folder))
    return find_workspace(folder)


def files(out: Path) -> dict[str, bytes]:
    """Path -> content of every file below a folder, links followed."""
    found = (path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def pictures(out: Path) -> list[str]:
    return sorted(path for path in files(out) if path != "README.md")


ALL = [f"{label}/{number}.jpg" for label in ("blue", "red") for number in range(6)]


@pytest.mark.parametrize("copy", [False, True])
def test_without_verdicts_it_is_the_folder_again(place, folder, tmp_path, copy):
    made = materialize(place, Path("out"), copy=copy)
    out = tmp_path / "out"
    written = files(out)
    assert written.pop("README.md").startswith(b"# photos, as decided\n\n12 pictures, ")
    assert written == files(folder)
    assert made == {
        "written": 12,
        "labels": {"blue": 6, "red": 6},
        "unlabelled": 0,
        "dropped": {},
        "relabelled": 0,
        "problems": [],
        "out": str(out),
        "copied": copy,
    }
    links = {path.is_symlink() for path in out.rglob("*.jpg")}
    assert links == {not copy}
    if not copy:
        assert (out / "red/0.jpg").readlink() == folder / "red/0.jpg"
    assert sorted(os.listdir(tmp_path)) == ["out", "photos", "photos.winnow"]


def test_it_holds_what_was_decided(place, tmp_path):
    decide(place, ["red/0.jpg"], "drop")
    decide(place, ["red/1.jpg"], "drop", "quality")
    decide(place, ["blue/0.jpg"], "relabel", label="red")
    decide(place, ["blue/1.jpg"], "relabel", label="violet")
    decide(place, ["blue/2.jpg"], "keep")
    made = materialize(place, tmp_path / "out")
    expected = {path: path for path in ALL if path not in ("red/0.jpg", "red/1.jpg", "blue/0.jpg", "blue/1.jpg")}
    assert pictures(tmp_path / "out") == sorted([*expected, "red/0.jpg", "violet/1.jpg"])
    assert (made["written"], made["relabelled"]) == (10, 2)
    assert made["dropped"] == {"off_topic": 1, "quality": 1}
    assert made["labels"] == {"blue": 4, "red": 5, "violet": 1}
    assert (tmp_path / "out/red/0.jpg").resolve() == (place.images / "blue/0.jpg")


def test_scanned_anew_it_is_the_dataset_as_decided(place, tmp_path):
    decide(place, ["red/0.jpg"], "drop")
    decide(place, ["blue/0.jpg"], "relabel", label="red")
    materialize(place, tmp_path / "out")
    again = find_workspace(tmp_path / "out")
    scan(again)
    verdicts = current_verdicts(Journal(place.folder).lines())
    expected = dataset.read(place, repeats=1, verdicts=verdicts)
    found = dataset.read(again, repeats=1)
    assert dict(zip(found.ids, found.labels, strict=True)) == dict(zip(expected.ids, expected.labels, strict=True))


def test_exact_copies_are_written_once_under_their_label(place, folder, tmp_path):
    for name in ("red/00copy.jpg", "blue/copy.jpg", "red/copy.jpg"):
        (folder / name).write_bytes((folder / "red/0.jpg").read_bytes())
    scan(place)
    materialize(place, tmp_path / "one")
    assert pictures(tmp_path / "one") == ALL
    decide(place, ["red/0.jpg"], "relabel", label="blue")
    assert materialize(place, tmp_path / "two")["written"] == 12
    assert pictures(tmp_path / "two") == sorted({*ALL, "blue/copy.jpg"} - {"red/0.jpg"})


def test_pictures_without_a_label_or_with_several_lie_on_top(place, folder, tmp_path):
    shutil.move(folder / "red/5.jpg", folder / "5.jpg")
    (folder / "blue/copy.jpg").write_bytes((folder / "red/0.jpg").read_bytes())
    scan(place)
    made = materialize(place, tmp_path / "out")
    assert [path for path in pictures(tmp_path / "out") if "/" not in path] == ["5.jpg", "copy.jpg"]
    assert "(no label) | 2 | 2 |" in (tmp_path / "out/README.md").read_text()
    assert made["unlabelled"] == 2


def test_names_that_clash_get_a_piece_of_the_id(folder, tmp_path):
    for label in ("red", "blue"):
        (folder / label / "more").mkdir()
        (folder / label / "0.jpg").rename(folder / label / "more/1.jpg")
    scan(find_workspace(folder))
    place = find_workspace(folder)
    for copy in (False, True):
        out = tmp_path / f"out{copy}"
        assert materialize(place, out, copy=copy)["written"] == 12
        ids = dict(zip(*(read(place)[name].to_pylist() for name in ("path", "id")), strict=True))
        own = [path for path in ALL if not path.endswith("/0.jpg")]
        assert pictures(out) == sorted(
            [*own, *(f"{label}/1-{ids[f'{label}/more/1.jpg'][:8]}.jpg" for label in ("red", "blue"))]
        )
        assert {content for path, content in files(out).items() if path != "README.md"} == set(files(folder).values())


def test_long_names_that_clash_stay_short_enough(folder, tmp_path):
    name = "ä" * 125 + ".jpg"
    (folder / "red/more").mkdir()
    (folder / "red/0.jpg").rename(folder / "red" / name)
    (folder / "red/1.jpg").rename(folder / "red/more" / name)
    scan(find_workspace(folder))
    materialize(find_workspace(folder), tmp_path / "out")
    names = [os.fsencode(path.partition("/")[2]) for path in pictures(tmp_path / "out")]
    assert len(names) == 12
    assert sorted(map(len, names))[-2:] == [254, 255]


def test_names_with_bytes_that_are_not_utf8_stay_as_they_are(folder, tmp_path):
    odd, label = os.fsdecode(b"caf\xe9.jpg"), os.fsdecode(b"r\xe9d")
    (folder / "red").rename(folder / label)
    (folder / label / "0.jpg").rename(folder / label / odd)
    (folder / label / "1.jpg").rename(folder / label / "50%41.jpg")
    scan(find_workspace(folder))
    for copy in (False, True):
        materialize(find_workspace(folder), tmp_path / f"out{copy}", copy=copy)
        assert files(tmp_path / f"out{copy}").keys() - {"README.md"} == files(folder).keys()
    assert "r%E9d/caf%E9.jpg" not in (tmp_path / "outTrue/README.md").read_text()
    assert "| r%E9d | 6 | 6 |" in (tmp_path / "outTrue/README.md").read_text()


LABELS = {
    "a/b": "a_b",
    "../../evil": "_.._.._evil",
    "/etc": "_etc",
    "..": "_",
    ".hidden": "_.hidden",
    "a\\b": "a_b",
    "C:": "C_",
    "NUL": "_NUL",
    "con.jpg": "_con.jpg",
    "trailing. ": "trailing",
    "<b>&|?*": "_b_&___",
    "@eaDir": "_@eaDir",
    "x" * 400: "x" * 255,
    "ü" * 200: "ü" * 127,
    "100%41": "100%41",
    "%2F%2E%2E": "%2F%2E%2E",
    "~": "~",
    "-rf": "-rf",
    "Löwenzahn 👩‍🌾": "Löwenzahn 👩‍🌾",
}


@pytest.mark.parametrize("label", LABELS)
def test_a_label_that_is_no_name_for_a_folder_becomes_one_inside(place, tmp_path, label):
    """Labels of a CSV file are not looked at; those of verdicts only for what cannot be printed."""
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n" + "".join(f'{path},"{label if path < "r" else "red"}"\n' for path in ALL))
    scan(place, str(table))
    materialize(find_workspace(place.images), tmp_path / "deep/out")
    label = label.strip()
    assert set(os.listdir(tmp_path / "deep/out")) == {LABELS.get(label, LABELS.get(label + " ")), "red", "README.md"}
    assert len(pictures(tmp_path / "deep/out")) == 12
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_labels_whose_folders_would_be_the_same_have_one_each(place, tmp_path):
    labels = ["a_b", "a/b", "a:b", "README.md"]
    for number, label in enumerate(labels):
        decide(place, [f"red/{number}.jpg"], "relabel", label=label)
    materialize(place, tmp_path / "out")
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert {"a_b", "blue", "red"} < set(folders)
    assert len(folders) == 6
    assert pictures(tmp_path / "out/a_b") == ["0.jpg"]
    assert sum(name.startswith("a_b-") for name in folders) == 2
    assert sum(name.startswith("README-") for name in folders) == 1
    assert (tmp_path / "out/README.md").is_file()


def test_a_picture_called_readme_does_not_take_its_place(folder, tmp_path):
    (folder / "red/0.jpg").rename(folder / "README.md")
    scan(find_workspace(folder))
    materialize(find_workspace(folder), tmp_path / "out", copy=True)
    assert (tmp_path / "out/README.md").read_text().startswith("# photos")
    assert len(files(tmp_path / "out")) == 13


def test_splits_that_the_folders_give_are_kept(folder, tmp_path):
    for part, numbers in (("train", (0, 1, 2, 3)), ("test", (4, 5))):
        for path in (f"{label}/{number}.jpg" for label in ("red", "blue") for number in numbers):
            (folder / part / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).rename(folder / part / path)
    for label in ("red", "blue"):
        (folder / label).rmdir()
    scan(find_workspace(folder))
    place = find_workspace(folder)
    decide(place, ["train/red/0.jpg"], "relabel", label="a/b")
    decide(place, ["test/red/5.jpg"], "relabel", label="a/b")
    decide(place, ["test/red/4.jpg"], "drop")
    materialize(place, tmp_path / "out")
    names = pictures(tmp_path / "out")
    assert [name for name in names if "a_b" in name] == ["test/a_b/5.jpg", "train/a_b/0.jpg"]
    assert not (tmp_path / "out/test/red").exists()  # no folder without a picture
    again = find_workspace(tmp_path / "out")
    scan(again)
    assert set(read(again)["split"].to_pylist()) == {"train", "test"}


# What is refused


@pytest.mark.parametrize("copy", [False, True])
def test_pictures_that_changed_or_vanished_are_left_out_and_told(place, folder, tmp_path, copy):
    (folder / "red/0.jpg").unlink()
    (folder / "red/1.jpg").write_bytes(b"other")
    said = []
    made = materialize(place, tmp_path / "out", copy=copy, on_message=said.append)
    assert pictures(tmp_path / "out") == [path for path in ALL if path not in ("red/0.jpg", "red/1.jpg")]
    assert made["written"] == 10
    assert [problem["path"] for problem in made["problems"]] == ["red/0.jpg", "red/1.jpg"]
    assert made["problems"][1]["message"] == "the file changed since the scan: run `winnow scan`"
    assert said == ["left out, 2 pictures that changed since the scan, as red/0.jpg"]
    assert "## With a problem: 2\n\n| picture | problem |\n" in (tmp_path / "out/README.md").read_text()


def test_a_class_whose_pictures_are_all_gone_has_no_folder(place, folder, tmp_path):
    shutil.rmtree(folder / "red")
    materialize(place, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["README.md", "blue"]
    shutil.rmtree(folder / "blue")
    with pytest.raises(InputError, match=r"no picture is as it was scanned, as blue/0\.jpg: run `winnow scan` first"):
        materialize(place, tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_copies_are_known_by_their_content_not_by_their_time(place, folder, tmp_path):
    os.utime(folder / "red/0.jpg")
    assert materialize(place, tmp_path / "copies", copy=True)["written"] == 12
    assert materialize(place, tmp_path / "links")["written"] == 11


@pytest.mark.parametrize(
    "where", ["photos/out", "photos", "photos/red/deep/out", "link/out", "up/photos/x", "linked/out"]
)
def test_it_is_never_written_into_the_pictures(place, folder, tmp_path, where):
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "linked").mkdir()
    shutil.copy(folder / "red/0.jpg", tmp_path / "linked/new.jpg")
    (folder / "more").symlink_to(tmp_path / "linked")
    with (tmp_path / "linked/new.jpg").open("ab") as stream:
        stream.write(b"another id")
    scan(place)
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match=r"would lie inside the pictures \(.*\): name a folder outside of them"):
        materialize(place, Path(where))
    assert sorted(folder.rglob("*")) == before


def test_it_is_never_written_into_the_workspace(place):
    with pytest.raises(InputError, match=r"would lie inside the workspace \(.*photos\.winnow\): name a folder outside"):
        materialize(place, place.folder / "out")
    assert not (place.folder / "out").exists()


def test_a_folder_that_is_not_empty_is_left_alone(place, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="out is not empty: name a new folder"):
        materialize(place, tmp_path / "out")
    with pytest.raises(InputError, match="file is a file: name a new folder"):
        materialize(place, tmp_path / "file")
    with pytest.raises(InputError, match="file/out: Not a directory|file/out cannot be written to"):
        materialize(place, tmp_path / "file/out")
    assert os.listdir(tmp_path / "out") == ["mine"]
    assert sorted(os.listdir(tmp_path)) == ["file", "out", "photos", "photos.winnow"]


def test_an_empty_folder_is_filled_also_through_a_link(place, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert materialize(place, tmp_path / "link")["out"] == str(tmp_path / "empty")
    assert pictures(tmp_path / "link") == ALL


def test_the_current_folder_is_not_replaced_under_ones_feet(place, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="here is the current folder: name a new one in it"):
        materialize(place, Path())


def test_nothing_left_to_write_is_told(place, tmp_path):
    decide(place, ALL, "drop")
    with pytest.raises(InputError, match=r"no picture of .* is left to write: `winnow scan` it, or take verdicts back"):
        materialize(place, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_system_without_links_asks_for_copies(place, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(InputError, match="links cannot be made there, by this system or this user: use --copy"):
        materialize(place, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["photos", "photos.winnow"]
    assert materialize(place, tmp_path / "out", copy=True)["written"] == 12


def test_a_full_disk_is_one_line_and_leaves_nothing(place, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with pytest.raises(InputError) as caught:
            materialize(place, small / "out", copy=True)
        assert str(caught.value) == (f"{small}/out: No space left on device; nothing was written: name another folder")
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


HALF = """
import sys, time
from pathlib import Path
from winnow.curate.export.materialize import materialize
from winnow.curate.workspace import find_workspace
def told(done, total):
    if done == 6:
        print("half", flush=True)
        time.sleep(60)
materialize(find_workspace(Path(sys.argv[1])), Path("out"), copy=True, on_progress=told)
"""


def half(place: Workspace, tmp_path: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": PACKAGE}
    command = [sys.executable, "-c", HALF, place.images]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


@pytest.mark.slow
def test_killed_half_way_it_leaves_no_folder_and_the_next_one_tidies_up(place, tmp_path):
    process = half(place, tmp_path)
    with pytest.raises(InputError, match=r"another `winnow materialize` is at work on .*photos\.winnow: wait for it"):
        materialize(place, tmp_path / "out")
    process.kill()
    process.communicate()
    assert not (tmp_path / "out").exists()
    assert materialize(place, tmp_path / "out")["written"] == 12
    assert sorted(os.listdir(tmp_path)) == ["out", "photos", "photos.winnow"]


def test_interrupted_it_leaves_nothing(place, tmp_path):
    def interrupt(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(place, tmp_path / "deep/out", on_progress=interrupt)
    assert os.listdir(tmp_path / "deep") == []


# What it says of itself


def test_the_readme_says_what_was_left_out_by_whom_and_why(place, folder, tmp_path):
    (folder / "red/broken.jpg").write_bytes(b"\xff\xd8\xff")
    scan(place)
    decide(place, ["red/0.jpg"], "drop", "quality")
    decide(place, ["blue/0.jpg"], "relabel", label="violet")
    first, second = Journal(place.folder).lines()
    materialize(place, tmp_path / "out", copy=True)
    text = (tmp_path / "out/README.md").read_text()
    assert f"11 pictures, copies of the files in {folder}, written on ".replace("_", r"\_") in text
    assert (
        "| label | found | written |\n| --- | --- | --- |\n| blue | 6 | 5 |\n| red | 6 | 5 |\n| violet | 0 | 1 |\n"
        in text
    )
    assert "## Dropped: 1\n\n| picture | label | reason | who | when |\n| --- | --- | --- | --- | --- |\n" in text
    assert f"| red/0.jpg | red | quality | {first.who} | {first.when[:16]} |\n\n## Relabelled: 1\n\n" in text
    assert f"| blue/0.jpg | blue | violet | {second.who} | {second.when[:16]} |\n" in text
    assert "## With a problem: 1\n\n| picture | problem |\n| --- | --- |\n| red/broken.jpg | " in text


def test_names_cannot_write_markdown_or_html(folder, tmp_path):
    name = "<script>alert(1)<\\script>|`x`*b*\n# [a](http) ![i](j) &amp; \u202e.jpg"
    (folder / "red/0.jpg").rename(folder / "red" / name)
    scan(find_workspace(folder))
    place = find_workspace(folder)
    decide(place, [f"red/{name}"], "drop")
    materialize(place, tmp_path / "out")
    (line,) = [line for line in (tmp_path / "out/README.md").read_text().split("\n") if "script" in line]
    script = r"&lt;script&gt;alert(1)&lt;\\script&gt;"
    rest = r"\|\`x\`\*b\*\\n\# \[a\](http) \!\[i\](j) &amp;amp; \\u202e.jpg | red | off\_topic |"
    assert line.startswith(f"| red/{script}{rest}")


def test_a_long_list_is_cut_and_says_so(place, tmp_path, monkeypatch):
    monkeypatch.setattr("winnow.curate.export.readme.LISTED", 3)
    decide(place, ALL[:8], "drop")
    materialize(place, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    assert "## Dropped: 8\n" in text
    assert text.count("| off\\_topic |") == 3
    assert "\n… and 5 more.\n" in text
