"""The dataset as decided is written as a folder of its own: whole or not at all, and nothing outside of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.errors import input_error
from support.files import read_files
from support.project import PACKAGE

from winnow.curate import dataset
from winnow.curate.decisions import decide
from winnow.curate.export.materialize import materialize
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.manifest import read, scan
from winnow.curate.workspace import Workspace, find_workspace


def pictures(out: Path) -> list[str]:
    return sorted(path for path in read_files(out) if path != "README.md")


ALL = [f"{label}/{number}.jpg" for label in ("blue", "red") for number in range(6)]


@pytest.mark.parametrize("copy", [False, True])
def test_without_verdicts_it_equals_the_folder(workspace, folder, tmp_path, copy):
    result = materialize(workspace, Path("out"), copy=copy)
    out = tmp_path / "out"
    written = read_files(out)
    assert written.pop("README.md").startswith(b"# photos, as decided\n\n12 pictures, ")
    assert written == read_files(folder)
    assert result.to_json() == {
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


def test_verdicts_are_applied(workspace, tmp_path):
    decide(workspace, ["red/0.jpg"], "drop")
    decide(workspace, ["red/1.jpg"], "drop", "quality")
    decide(workspace, ["blue/0.jpg"], "relabel", label="red")
    decide(workspace, ["blue/1.jpg"], "relabel", label="violet")
    decide(workspace, ["blue/2.jpg"], "keep")
    result = materialize(workspace, tmp_path / "out")
    expected = {path: path for path in ALL if path not in ("red/0.jpg", "red/1.jpg", "blue/0.jpg", "blue/1.jpg")}
    assert pictures(tmp_path / "out") == sorted([*expected, "red/0.jpg", "violet/1.jpg"])
    assert (result.written, result.relabelled) == (10, 2)
    assert result.dropped == {"off_topic": 1, "quality": 1}
    assert result.labels == {"blue": 4, "red": 5, "violet": 1}
    assert (tmp_path / "out/red/0.jpg").resolve() == (workspace.images / "blue/0.jpg")


def test_a_scan_of_it_gives_the_dataset_as_decided(workspace, tmp_path):
    decide(workspace, ["red/0.jpg"], "drop")
    decide(workspace, ["blue/0.jpg"], "relabel", label="red")
    materialize(workspace, tmp_path / "out")
    again = find_workspace(tmp_path / "out")
    scan(again)
    verdicts = current_verdicts(Journal(workspace.folder).lines())
    expected = dataset.read(workspace, repeats=1, verdicts=verdicts)
    data = dataset.read(again, repeats=1)
    assert dict(zip(data.ids, data.labels, strict=True)) == dict(zip(expected.ids, expected.labels, strict=True))


def test_exact_copies_are_written_once_under_their_label(workspace, folder, tmp_path):
    for name in ("red/00copy.jpg", "blue/copy.jpg", "red/copy.jpg"):
        (folder / name).write_bytes((folder / "red/0.jpg").read_bytes())
    scan(workspace)
    materialize(workspace, tmp_path / "one")
    assert pictures(tmp_path / "one") == ALL
    decide(workspace, ["red/0.jpg"], "relabel", label="blue")
    assert materialize(workspace, tmp_path / "two").written == 12
    assert pictures(tmp_path / "two") == sorted({*ALL, "blue/copy.jpg"} - {"red/0.jpg"})


def test_pictures_without_a_label_or_with_several_are_at_the_top(workspace, folder, tmp_path):
    shutil.move(folder / "red/5.jpg", folder / "5.jpg")
    (folder / "blue/copy.jpg").write_bytes((folder / "red/0.jpg").read_bytes())
    scan(workspace)
    result = materialize(workspace, tmp_path / "out")
    assert [path for path in pictures(tmp_path / "out") if "/" not in path] == ["5.jpg", "copy.jpg"]
    assert "(no label) | 2 | 2 |" in (tmp_path / "out/README.md").read_text()
    assert result.unlabelled == 2


def test_names_that_clash_get_a_piece_of_the_id(folder, tmp_path):
    for label in ("red", "blue"):
        (folder / label / "more").mkdir()
        (folder / label / "0.jpg").rename(folder / label / "more/1.jpg")
    scan(find_workspace(folder))
    workspace = find_workspace(folder)
    for copy in (False, True):
        out = tmp_path / f"out{copy}"
        assert materialize(workspace, out, copy=copy).written == 12
        ids = dict(zip(*(read(workspace)[name].to_pylist() for name in ("path", "id")), strict=True))
        unchanged = [path for path in ALL if not path.endswith("/0.jpg")]
        assert pictures(out) == sorted(
            [*unchanged, *(f"{label}/1-{ids[f'{label}/more/1.jpg'][:8]}.jpg" for label in ("red", "blue"))]
        )
        contents = {content for path, content in read_files(out).items() if path != "README.md"}
        assert contents == set(read_files(folder).values())


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
        assert read_files(tmp_path / f"out{copy}").keys() - {"README.md"} == read_files(folder).keys()
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
def test_a_label_that_is_not_a_folder_name_becomes_a_safe_one(workspace, tmp_path, label):
    """Labels of a CSV file are not checked; those of verdicts only for characters that cannot be printed."""
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n" + "".join(f'{path},"{label if path < "r" else "red"}"\n' for path in ALL))
    scan(workspace, str(table))
    materialize(find_workspace(workspace.images), tmp_path / "deep/out")
    label = label.strip()
    assert set(os.listdir(tmp_path / "deep/out")) == {LABELS.get(label, LABELS.get(label + " ")), "red", "README.md"}
    assert len(pictures(tmp_path / "deep/out")) == 12
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_labels_with_the_same_safe_name_have_a_folder_each(workspace, tmp_path):
    labels = ["a_b", "a/b", "a:b", "README.md"]
    for number, label in enumerate(labels):
        decide(workspace, [f"red/{number}.jpg"], "relabel", label=label)
    materialize(workspace, tmp_path / "out")
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert {"a_b", "blue", "red"} < set(folders)
    assert len(folders) == 6
    assert pictures(tmp_path / "out/a_b") == ["0.jpg"]
    assert sum(name.startswith("a_b-") for name in folders) == 2
    assert sum(name.startswith("README-") for name in folders) == 1
    assert (tmp_path / "out/README.md").is_file()


def test_a_picture_called_readme_does_not_replace_the_readme(folder, tmp_path):
    (folder / "red/0.jpg").rename(folder / "README.md")
    scan(find_workspace(folder))
    materialize(find_workspace(folder), tmp_path / "out", copy=True)
    assert (tmp_path / "out/README.md").read_text().startswith("# photos")
    assert len(read_files(tmp_path / "out")) == 13


def test_splits_that_the_folders_give_are_kept(folder, tmp_path):
    for split, numbers in (("train", (0, 1, 2, 3)), ("test", (4, 5))):
        for path in (f"{label}/{number}.jpg" for label in ("red", "blue") for number in numbers):
            (folder / split / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).rename(folder / split / path)
    for label in ("red", "blue"):
        (folder / label).rmdir()
    scan(find_workspace(folder))
    workspace = find_workspace(folder)
    decide(workspace, ["train/red/0.jpg"], "relabel", label="a/b")
    decide(workspace, ["test/red/5.jpg"], "relabel", label="a/b")
    decide(workspace, ["test/red/4.jpg"], "drop")
    materialize(workspace, tmp_path / "out")
    names = pictures(tmp_path / "out")
    assert [name for name in names if "a_b" in name] == ["test/a_b/5.jpg", "train/a_b/0.jpg"]
    assert not (tmp_path / "out/test/red").exists()  # no folder without a picture
    again = find_workspace(tmp_path / "out")
    scan(again)
    assert set(read(again)["split"].to_pylist()) == {"train", "test"}


# Refusals


@pytest.mark.parametrize("copy", [False, True])
def test_pictures_that_changed_or_vanished_are_left_out_and_reported(workspace, folder, tmp_path, copy):
    (folder / "red/0.jpg").unlink()
    (folder / "red/1.jpg").write_bytes(b"other")
    messages = []
    result = materialize(workspace, tmp_path / "out", copy=copy, on_message=messages.append)
    assert pictures(tmp_path / "out") == [path for path in ALL if path not in ("red/0.jpg", "red/1.jpg")]
    assert result.written == 10
    assert list(result.problems) == ["red/0.jpg", "red/1.jpg"]
    assert result.to_json()["problems"][1] == {"path": "red/1.jpg", "message": "the file changed since the scan"}
    assert messages == ["left out: 2 pictures that changed since the scan, for example red/0.jpg"]
    assert "## With a problem: 2\n\n| picture | problem |\n" in (tmp_path / "out/README.md").read_text()


def test_a_class_whose_pictures_all_vanished_has_no_folder(workspace, folder, tmp_path):
    shutil.rmtree(folder / "red")
    materialize(workspace, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["README.md", "blue"]
    shutil.rmtree(folder / "blue")
    with input_error(r"every picture changed since the scan, for example blue/0\.jpg$", "scan"):
        materialize(workspace, tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_copies_are_checked_by_content_and_links_by_time(workspace, folder, tmp_path):
    os.utime(folder / "red/0.jpg")
    assert materialize(workspace, tmp_path / "copies", copy=True).written == 12
    assert materialize(workspace, tmp_path / "links").written == 11


@pytest.mark.parametrize(
    "where", ["photos/out", "photos", "photos/red/deep/out", "link/out", "up/photos/x", "linked/out"]
)
def test_it_is_never_written_into_the_pictures(workspace, folder, tmp_path, where):
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "linked").mkdir()
    shutil.copy(folder / "red/0.jpg", tmp_path / "linked/new.jpg")
    (folder / "more").symlink_to(tmp_path / "linked")
    with (tmp_path / "linked/new.jpg").open("ab") as stream:
        stream.write(b"another id")
    scan(workspace)
    before = sorted(folder.rglob("*"))
    with input_error(r"would lie inside the pictures \(.*\)$", "folder-outside"):
        materialize(workspace, Path(where))
    assert sorted(folder.rglob("*")) == before


def test_it_is_never_written_into_the_workspace(workspace):
    with input_error(r"would lie inside the workspace \(.*photos\.winnow\)$", "folder-outside"):
        materialize(workspace, workspace.folder / "out")
    assert not (workspace.folder / "out").exists()


def test_a_folder_that_is_not_empty_is_left_alone(workspace, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with input_error("out is not empty$", "new-folder"):
        materialize(workspace, tmp_path / "out")
    with input_error("file is a file$", "new-folder"):
        materialize(workspace, tmp_path / "file")
    with input_error("file/out: Not a directory|file/out cannot be written to", "another-folder"):
        materialize(workspace, tmp_path / "file/out")
    assert os.listdir(tmp_path / "out") == ["mine"]
    assert sorted(os.listdir(tmp_path)) == ["file", "out", "photos", "photos.winnow"]


def test_an_empty_folder_is_filled_also_through_a_link(workspace, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert materialize(workspace, tmp_path / "link").out == tmp_path / "empty"
    assert pictures(tmp_path / "link") == ALL


def test_the_current_folder_is_not_replaced(workspace, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with input_error("here is the current folder$", "new-folder"):
        materialize(workspace, Path())


def test_nothing_left_to_write_is_refused(workspace, tmp_path):
    decide(workspace, ALL, "drop")
    with input_error("no picture of .* is left to write$", "nothing-to-write"):
        materialize(workspace, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_system_without_links_needs_copies(workspace, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with input_error("this system or this user cannot create links there$", "copy"):
        materialize(workspace, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["photos", "photos.winnow"]
    assert materialize(workspace, tmp_path / "out", copy=True).written == 12


def test_a_full_disk_is_an_error_and_leaves_nothing(workspace, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with input_error(f"^{small}/out: No space left on device; nothing was written$", "another-folder"):
            materialize(workspace, small / "out", copy=True)
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


HALF = """
import sys, time
from pathlib import Path
from winnow.curate.export.materialize import materialize
from winnow.curate.workspace import find_workspace
def on_progress(done, total):
    if done == 6:
        print("half", flush=True)
        time.sleep(60)
materialize(find_workspace(Path(sys.argv[1])), Path("out"), copy=True, on_progress=on_progress)
"""


def half(workspace: Workspace, tmp_path: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": PACKAGE}
    command = [sys.executable, "-c", HALF, workspace.images]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


@pytest.mark.slow
def test_a_kill_leaves_no_folder_and_the_next_run_cleans_up(workspace, tmp_path):
    process = half(workspace, tmp_path)
    with input_error(r"another process is writing the dataset of .*photos\.winnow$", "wait"):
        materialize(workspace, tmp_path / "out")
    process.kill()
    process.communicate()
    assert not (tmp_path / "out").exists()
    assert materialize(workspace, tmp_path / "out").written == 12
    assert sorted(os.listdir(tmp_path)) == ["out", "photos", "photos.winnow"]


def test_an_interrupt_leaves_nothing(workspace, tmp_path):
    def interrupt(done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(workspace, tmp_path / "deep/out", on_progress=interrupt)
    assert os.listdir(tmp_path / "deep") == []


# The README


def test_the_readme_lists_what_was_left_out_by_whom_and_why(workspace, folder, tmp_path):
    (folder / "red/broken.jpg").write_bytes(b"\xff\xd8\xff")
    scan(workspace)
    decide(workspace, ["red/0.jpg"], "drop", "quality")
    decide(workspace, ["blue/0.jpg"], "relabel", label="violet")
    first, second = Journal(workspace.folder).lines()
    materialize(workspace, tmp_path / "out", copy=True)
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
    workspace = find_workspace(folder)
    decide(workspace, [f"red/{name}"], "drop")
    materialize(workspace, tmp_path / "out")
    (line,) = [line for line in (tmp_path / "out/README.md").read_text().split("\n") if "script" in line]
    script = r"&lt;script&gt;alert(1)&lt;\\script&gt;"
    rest = r"\|\`x\`\*b\*\\n\# \[a\](http) \!\[i\](j) &amp;amp; \\u202e.jpg | red | off\_topic |"
    assert line.startswith(f"| red/{script}{rest}")


def test_a_long_table_is_cut_with_a_note(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr("winnow.curate.export.readme.LISTED", 3)
    decide(workspace, ALL[:8], "drop")
    materialize(workspace, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text()
    assert "## Dropped: 8\n" in text
    assert text.count("| off\\_topic |") == 3
    assert "\n… and 5 more.\n" in text
