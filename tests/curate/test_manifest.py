"""A scan describes every picture file, never fails because of one, and opens only what changed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from support.errors import input_error
from support.project import PROJECT

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.manifest import read, scan
from winnow.curate.noise import duplicates, quality
from winnow.curate.noise.perceptual_hash import perceptual_hash
from winnow.curate.workspace import Workspace, find_workspace

OPENED: list[str] | None = None  # files opened by name while it is a list


def listen(event, arguments):
    if OPENED is not None and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        OPENED.append(os.fsdecode(arguments[0]))


sys.addaudithook(listen)


@pytest.fixture
def opened(monkeypatch):
    """A function that runs a function and returns its result and the files below a folder that it opened."""

    def run(function, root):
        monkeypatch.setattr(sys.modules[__name__], "OPENED", [])
        result = function()
        opened_files, names = OPENED, []
        monkeypatch.setattr(sys.modules[__name__], "OPENED", None)
        for name in opened_files:
            if Path(name).is_file() and name.startswith(f"{root}/"):
                names.append(os.path.relpath(name, root))
        return result, sorted(set(names))

    return run


def encoded(seed: int = 0, kind: str = "PNG", size: tuple[int, int] = (24, 16)) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """The workspace of an empty folder of pictures."""
    (tmp_path / "photos").mkdir()
    return find_workspace(tmp_path / "photos")


def put(workspace: Workspace, **files: bytes | int) -> None:
    """Write files: `roses__1_jpg=…` is roses/1.jpg; a number draws a PNG from that seed."""
    for name, content in files.items():
        file = workspace.images / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(content) if isinstance(content, int) else content)


def rows(workspace: Workspace) -> dict[str, dict]:
    return {row["path"]: row for row in read(workspace).to_pylist()}


def problem_codes(scan_result) -> dict[str, str]:
    return {problem.path: problem.code for problem in scan_result.problems}


def test_an_empty_folder_has_an_empty_manifest(workspace):
    result = scan(workspace)
    assert (result.files, result.images, result.ignored, result.read, result.problems) == (0, 0, 0, 0, [])
    assert (result.labels, result.unlabelled, result.exact_duplicates, result.warnings) == ({}, 0, 0, [])
    assert read(workspace).num_rows == 0
    assert scan(workspace) == result


def test_a_folder_of_other_files_only(workspace):
    put(workspace, notes_txt=b"x", deep__table_csv=b"a,b", empty=b"")
    result = scan(workspace)
    assert (result.files, result.images, result.ignored) == (3, 0, 3)
    assert read(workspace).num_rows == 0


def test_a_row_describes_the_file(workspace):
    put(workspace, roses__1_png=0)
    scan(workspace)
    data = (workspace.images / "roses/1.png").read_bytes()
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    numbers = quality.measure(pixels)
    assert read(workspace).schema.equals(manifest.schema())
    assert read(workspace).to_pylist() == [
        {
            "id": hashlib.sha256(data).hexdigest(),
            "path": "roses/1.png",
            "label": "roses",
            "split": None,
            "bytes": len(data),
            "mtime_ns": (workspace.images / "roses/1.png").stat().st_mtime_ns,
            "format": "PNG",
            "width": 24,
            "height": 16,
            "pixels": hashlib.sha256(pixels.tobytes()).hexdigest(),
            "phash": perceptual_hash(pixels),
            "thumbnail": duplicates.thumbnail(pixels).tobytes(),
            "highlight": pytest.approx(numbers["highlight"]),
            "shadow": pytest.approx(numbers["shadow"]),
            "contrast": pytest.approx(numbers["contrast"]),
            "sharpness": pytest.approx(numbers["sharpness"]),
            "problem": None,
            "problem_message": None,
        }
    ]


def test_size_is_that_of_the_upright_picture(workspace):
    tags = Image.Exif()
    tags[0x0112] = 6
    stream = io.BytesIO()
    Image.open(io.BytesIO(encoded())).save(stream, "JPEG", exif=tags)
    put(workspace, a_jpg=stream.getvalue())
    scan(workspace)
    assert (rows(workspace)["a.jpg"]["width"], rows(workspace)["a.jpg"]["height"]) == (16, 24)


def test_every_bad_file_has_a_row_with_its_problem_and_the_good_ones_are_read(workspace):
    jpeg = encoded(0, "JPEG", (200, 200))
    put(
        workspace,
        a__good_jpg=jpeg,
        a__cut_jpg=jpeg[: len(jpeg) // 2],
        a__nothing_jpg=b"",
        a__words_jpg=b"these are words",
        a__drawing_svg=b"<svg></svg>",
        a__apple_heic=b"\0\0\0\x18ftypheic\0\0\0\0",
        a__layers_psd=b"8BPS\0\x01",
        a__map_ppm=b"P6\n1 1\n255\nabc",
        a__words_txt=b"these are words",
        a__hidden_txt=encoded(1, "JPEG"),
        a__noname=encoded(2, "WEBP"),
    )
    os.mkfifo(workspace.images / "a" / "pipe.jpg")
    os.mkfifo(workspace.images / "a" / "pipe")
    (workspace.images / "a" / "gone.png").symlink_to("nowhere.png")
    with (workspace.images / "a" / "long.png").open("wb") as stream:
        stream.truncate(2**31 + 1)
    result = scan(workspace)
    assert problem_codes(result) == {
        "a/cut.jpg": "truncated",
        "a/nothing.jpg": "empty",
        "a/words.jpg": "not_an_image",
        "a/drawing.svg": "unsupported",
        "a/apple.heic": "unsupported",
        "a/layers.psd": "unsupported",
        "a/map.ppm": "unsupported",
        "a/pipe.jpg": "unreadable",
        "a/gone.png": "unreadable",
        "a/long.png": "too_large",
    }
    assert (result.files, result.images, result.ignored) == (15, 13, 2)
    assert result.labels == {"a": 3}
    assert {path for path, row in rows(workspace).items() if row["problem"] is None} == {
        "a/good.jpg",
        "a/hidden.txt",
        "a/noname",
    }
    assert rows(workspace)["a/gone.png"]["id"] is None
    assert rows(workspace)["a/cut.jpg"]["id"] == hashlib.sha256(jpeg[: len(jpeg) // 2]).hexdigest()
    assert all(problem.message and "\n" not in problem.message for problem in result.problems)
    assert scan(workspace).problems == result.problems


def test_a_file_named_wrongly_has_the_format_of_its_content(workspace):
    put(workspace, a_jpg=encoded(0, "PNG"), b_txt=encoded(0, "JPEG"))
    scan(workspace)
    assert {path: row["format"] for path, row in rows(workspace).items()} == {"a.jpg": "PNG", "b.txt": "JPEG"}


def test_odd_names_come_back_as_paths_that_open(workspace):
    from winnow.common.paths import from_text

    names = ["a b.png", "two\nlines.png", "🌷.png", "-rf.png", "100%.png", "%41.png", "[x]*?.png", 'it\'s "q".png']
    names += [os.fsdecode(b"caf\xe9/\xff.png")]
    for number, name in enumerate(names):
        (workspace.images / name).parent.mkdir(exist_ok=True)
        (workspace.images / name).write_bytes(encoded(number))
    assert scan(workspace).problems == []
    table = read(workspace)
    assert sorted(table["path"].to_pylist()) == table["path"].to_pylist()
    assert {from_text(path) for path in table["path"].to_pylist()} == set(names)
    for row in table.to_pylist():
        assert hashlib.sha256((workspace.images / from_text(row["path"])).read_bytes()).hexdigest() == row["id"]
    assert scan(workspace).read == 0


def test_a_second_scan_opens_no_file(workspace, opened):
    put(workspace, a__1_png=1, a__2_png=b"broken", b__words_txt=b"words", b__noname=3)
    first, names = opened(lambda: scan(workspace), workspace.images)
    assert names == ["a/1.png", "a/2.png", "b/noname", "b/words.txt"]
    assert first.read == 4
    second, names = opened(lambda: scan(workspace), workspace.images)
    assert names == []
    assert second.read == 0
    assert second.problems == first.problems
    assert (second.files, second.images, second.ignored, second.labels) == (4, 3, 1, first.labels)


def test_only_what_changed_is_opened_again(workspace, opened):
    put(
        workspace,
        a__same_png=1,
        a__edited_png=2,
        a__renamed_png=3,
        a__removed_png=4,
        a__words_txt=b"x",
        a__gone_txt=b"y",
    )
    scan(workspace)
    before = rows(workspace)
    os.utime(workspace.images / "a/same.png", ns=(1, before["a/same.png"]["mtime_ns"]))  # read since, not written
    put(workspace, a__edited_png=20, a__new_png=5, a__words_txt=b"other words")
    (workspace.images / "a/renamed.png").rename(workspace.images / "a/moved.png")
    (workspace.images / "a/removed.png").unlink()
    (workspace.images / "a/gone.txt").unlink()
    result, names = opened(lambda: scan(workspace), workspace.images)
    assert names == ["a/edited.png", "a/moved.png", "a/new.png", "a/words.txt"]
    assert (result.read, result.files, result.images, result.ignored) == (4, 5, 4, 1)
    after = rows(workspace)
    assert set(after) == {"a/same.png", "a/edited.png", "a/moved.png", "a/new.png"}
    assert after["a/same.png"] == before["a/same.png"]
    assert after["a/moved.png"]["id"] == before["a/renamed.png"]["id"]
    assert after["a/edited.png"]["id"] != before["a/edited.png"]["id"]


def test_a_change_of_time_or_size_alone_is_enough(workspace):
    put(workspace, a_png=1)
    scan(workspace)
    os.utime(workspace.images / "a.png", ns=(1, 1))
    assert scan(workspace).read == 1
    assert rows(workspace)["a.png"]["mtime_ns"] == 1
    (workspace.images / "a.png").write_bytes(encoded(1) + b"more")
    os.utime(workspace.images / "a.png", ns=(1, 1))
    assert scan(workspace).read == 1


def test_a_picture_that_becomes_words_leaves_and_words_that_become_a_picture_enter(workspace):
    put(workspace, a=1, b=b"words", c_png=2)
    assert (scan(workspace).images, set(rows(workspace))) == (2, {"a", "c.png"})
    put(workspace, a=b"words", b=1)
    assert (scan(workspace).images, set(rows(workspace))) == (2, {"b", "c.png"})


def test_a_dangling_link_is_tried_again(workspace):
    (workspace.images / "a.png").symlink_to(workspace.images.parent / "later.png")
    assert problem_codes(scan(workspace)) == {"a.png": "unreadable"}
    assert problem_codes(scan(workspace)) == {"a.png": "unreadable"}
    (workspace.images.parent / "later.png").write_bytes(encoded())
    assert problem_codes(scan(workspace)) == {}


def test_exact_copies_are_counted_beyond_the_first(workspace):
    put(workspace, a__1_png=1, a__2_png=1, b__3_png=1, b__4_png=4, b__5_png=b"broken", b__6_png=b"broken")
    assert scan(workspace).exact_duplicates == 2


def test_the_same_pixels_in_another_file_format_share_their_digest(workspace):
    put(workspace, a_png=encoded(1, "PNG"), a_bmp=encoded(1, "BMP"))
    scan(workspace)
    first, second = rows(workspace).values()
    assert first["pixels"] == second["pixels"]
    assert first["id"] != second["id"]


def test_splits_on_top_are_recognised_and_forgotten_when_a_class_comes(workspace):
    put(workspace, train__a__1_png=1, test__a__2_png=2)
    assert scan(workspace).labels == {"a": 2}
    assert [row["split"] for row in rows(workspace).values()] == ["test", "train"]
    put(workspace, bus__3_png=3)
    assert scan(workspace).labels == {"bus": 1, "test": 1, "train": 1}
    assert {row["split"] for row in rows(workspace).values()} == {None}


def test_another_rule_gives_other_labels_without_opening_a_picture_and_is_remembered(workspace, opened):
    put(workspace, a__x__1_png=1, a__y__2_png=2)
    assert scan(workspace).labels == {"a": 2}
    result, names = opened(lambda: scan(workspace, "parent"), workspace.images)
    assert result.labels == {"x": 1, "y": 1}
    assert names == []
    assert json.loads((workspace.folder / "workspace.json").read_text())["labels"] == "parent"
    assert scan(find_workspace(workspace.images)).labels == {"x": 1, "y": 1}


def test_labels_of_a_csv_follow_the_file(workspace, tmp_path):
    put(workspace, x_png=1, y_png=2)
    table = tmp_path / "labels.csv"
    table.write_text("path,label,split\nx.png,a,train\n")
    result = scan(workspace, str(table))
    assert (result.labels, result.unlabelled) == ({"a": 1}, 1)
    assert rows(workspace)["x.png"]["split"] == "train"
    table.write_text("path,label\nx.png,a\ny.png,b\nlost.png,b\n")
    result = scan(find_workspace(workspace.images))
    assert result.labels == {"a": 1, "b": 1}
    assert result.warnings == ["labels.csv: 1 of 3 paths are not among the pictures, for example lost.png"]


def test_a_bad_rule_is_refused_before_anything_is_read_or_written(workspace):
    put(workspace, a_png=1)
    with input_error("no such file$", "labels"):
        scan(workspace, "none.csv")
    assert not workspace.folder.exists()


def test_progress_counts_every_file_that_is_read(workspace):
    put(workspace, a_png=1, b_png=2, c_txt=b"words")
    progress = []
    scan(workspace, on_progress=lambda done, total: progress.append((done, total)))
    assert progress == [(1, 3), (2, 3), (3, 3)]
    progress.clear()
    scan(workspace, on_progress=lambda done, total: progress.append((done, total)))
    assert progress == []


def test_one_worker_gives_the_same_result_as_many(workspace, tmp_path):
    put(workspace, **{f"a__{number}_png": number for number in range(30)})
    other = Workspace(tmp_path / "other.winnow", workspace.images)
    assert scan(workspace, workers=1) == scan(other, workers=7)
    assert read(workspace).equals(read(other))


def test_the_pictures_are_never_written_to(workspace):
    put(workspace, a__1_png=1, a__2_png=b"broken")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in workspace.images.rglob("*.png")}
    listing = sorted(workspace.images.rglob("*"))
    scan(workspace)
    assert sorted(workspace.images.rglob("*")) == listing
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in workspace.images.rglob("*.png")} == before


def test_no_old_versions_pile_up(workspace, monkeypatch):
    monkeypatch.setattr("winnow.common.tables.RETENTION", timedelta(0))
    for number in range(6):
        put(workspace, a_png=number)
        scan(workspace)
    assert len(list((workspace.manifest / "data").iterdir())) == 1


def test_a_reader_may_go_on_while_the_manifest_is_written_anew(workspace):
    put(workspace, a_png=1)
    scan(workspace)
    reader = lance.dataset(workspace.manifest)
    put(workspace, b_png=2)
    scan(workspace)
    assert reader.to_table()["path"].to_pylist() == ["a.png"]


DAMAGE = {
    "gone": Path.unlink,
    "other bytes": lambda file: file.write_bytes(bytes(range(256)) * 4),
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("table", ["manifest.lance", "other_files.lance"])
@pytest.mark.parametrize("how", [*DAMAGE, "other columns"])
def test_damaged_data_are_named(workspace, table, how):
    put(workspace, a_png=1, b_txt=b"words")
    scan(workspace)
    for file in (workspace.folder / table / "data").iterdir():
        if how in DAMAGE:
            DAMAGE[how](file)
    if how == "other columns":
        lance.write_dataset(pa.table({"x": [1]}), workspace.folder / table, mode="overwrite")
    with pytest.raises(InputError, match=rf"{table} cannot be read \(.*\): move it away and it is rebuilt$"):
        scan(workspace)


@pytest.fixture
def old(workspace) -> Workspace:
    """A workspace whose manifest was written before pictures were measured."""
    put(workspace, roses__1_png=1, roses__2_png=b"broken")
    scan(workspace)
    table = read(workspace).drop_columns(["thumbnail", *quality.NUMBERS])
    lance.write_dataset(table, workspace.manifest, mode="overwrite")
    return workspace


def test_an_older_manifest_is_rebuilt_by_scan_with_a_message(old):
    messages = []
    result = scan(old, on_message=messages.append)
    assert messages == [f"{old.manifest} was written by an older Winnow: every picture is read again"]
    assert (result.read, result.images, problem_codes(result)) == (2, 2, {"roses/2.png": "not_an_image"})
    assert rows(old)["roses/1.png"]["contrast"] > 0
    assert scan(old, on_message=messages.append).read == 0
    assert len(messages) == 1


def test_other_readers_refuse_an_older_manifest(old):
    with input_error(r"manifest\.lance was written by an older Winnow$", "rescan"):
        read(old)


def test_quality_is_measured_and_counted(workspace):
    put(workspace, a__good_jpg=encoded(1, "JPEG", (200, 150)), a__small_png=1, a__broken_jpg=b"")
    Image.new("RGB", (400, 100)).save(workspace.images / "a" / "black.png")
    result = scan(workspace)
    assert result.quality == {"too_dark": 1, "blurred": 1, "extreme_aspect": 1, "near_uniform": 1, "tiny": 1}
    assert result.to_json()["quality"] == result.quality
    assert rows(workspace)["a/broken.jpg"]["thumbnail"] is None
    assert rows(workspace)["a/broken.jpg"]["sharpness"] is None


def test_thumbnails_are_decoded(workspace):
    put(workspace, a_png=1, b_png=2)
    scan(workspace)
    expected = [np.asarray(Image.open(workspace.images / name)) for name in ("a.png", "b.png")]
    assert np.array_equal(manifest.thumbnails(read(workspace)), [duplicates.thumbnail(pixels) for pixels in expected])
    assert manifest.thumbnails(read(workspace).slice(0, 0)).shape == (0, 16, 16)


def test_files_by_id_names_the_first_readable_file_of_each_picture(workspace):
    put(workspace, b_png=1, a_png=1, c_png=2, broken_png=b"x")
    scan(workspace)
    files = manifest.files_by_id(workspace)
    assert list(files.values()) == [workspace.images / "a.png", workspace.images / "c.png"]
    assert [hashlib.sha256(file.read_bytes()).hexdigest() for file in files.values()] == list(files)


def test_a_damaged_manifest_is_named(workspace):
    put(workspace, a_png=1)
    scan(workspace)
    for file in (workspace.manifest / "_versions").iterdir():
        file.write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"manifest\.lance cannot be read \(.*\): move it away and it is rebuilt"):
        scan(workspace)


def test_a_scan_that_is_killed_keeps_what_it_had_read(workspace, monkeypatch, opened):
    put(workspace, a_png=1, b_png=2, c_png=3)
    monkeypatch.setattr(manifest, "COMMIT_SECONDS", 0.0)

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(workspace, on_progress=stop)
    result, names = opened(lambda: scan(workspace), workspace.images)
    assert names == ["c.png"]
    assert result.images == 3
    assert list(rows(workspace)) == ["a.png", "b.png", "c.png"]


def test_an_edited_picture_has_one_row_also_after_a_killed_scan(workspace, monkeypatch):
    put(workspace, a_png=1, b_png=2)
    scan(workspace)
    put(workspace, a_png=10, b_png=20)
    monkeypatch.setattr(manifest, "COMMIT_SECONDS", 0.0)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(workspace, on_progress=stop)
    scan(workspace)
    assert read(workspace)["path"].to_pylist() == ["a.png", "b.png"]
    assert rows(workspace)["a.png"]["id"] == hashlib.sha256(encoded(10)).hexdigest()


AS_NOBODY = """
import os, sys
from pathlib import Path
from winnow.curate.manifest import scan
from winnow.curate.workspace import Workspace
base = Path(sys.argv[1])
scan(Workspace(base / "warm-up", base / "photos"))  # what is imported late is imported now
if os.getuid() == 0:  # for whom nothing is unreadable
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
result = scan(Workspace(base / "w", base / "photos"))
print([(p.path, p.code) for p in result.problems], result.files, result.images, result.labels)
print(result.problems[0].message, "|", result.problems[1].message)
(base / "photos/locked").chmod(0o755), (base / "photos/a/secret.png").chmod(0o644)
result = scan(Workspace(base / "w", base / "photos"))
print(result.problems, result.read, result.labels)
"""


@pytest.mark.slow
def test_files_without_read_permission_are_problems_until_they_have_it():
    with tempfile.TemporaryDirectory() as name:  # not below pytest's folder, which is its owner's alone
        base = Path(name)
        workspace = Workspace(base / "w", base / "photos")
        put(workspace, a__1_png=1, a__secret_png=2, locked__3_png=3)
        (base / "w").mkdir()
        if os.getuid() == 0:
            for path in (base, *base.rglob("*")):
                os.chown(path, 65534, 65534)
        (base / "photos/a/secret.png").chmod(0)
        (base / "photos/locked").chmod(0)
        run = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, name], cwd=PROJECT, capture_output=True, text=True, check=False
        )
    assert run.stdout.splitlines() == [
        "[('a/secret.png', 'unreadable'), ('locked/', 'unreadable')] 2 2 {'a': 1}",
        "Permission denied: check the permissions and the disk | "
        "Permission denied: this folder cannot be listed: check its permissions",
        "[] 2 {'a': 2, 'locked': 1}",
    ], run.stderr


def test_the_perceptual_hash_is_that_of_imagehash_and_survives_another_size_and_format():
    import imagehash

    small = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC)
    value = perceptual_hash(np.asarray(large))
    assert value == int(str(imagehash.phash(large)), 16)
    assert 0 <= value < 2**64
    stream = io.BytesIO()
    large.resize((80, 60)).save(stream, "JPEG")
    assert (value ^ perceptual_hash(np.asarray(Image.open(stream)))).bit_count() <= 4
    assert perceptual_hash(np.zeros((1, 1, 3), dtype=np.uint8)) == perceptual_hash(np.zeros((9, 9, 3), dtype=np.uint8))
