"""The commands `predict` and `evaluate`: what they print, what they link, and how they end."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from support.command_line import start_winnow, winnow, winnow_json
from support.models import write_model
from support.pictures import HUES, paint
from support.project import PACKAGE

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.app import launch
from winnow.curate.app.launch import ReviewOptions, ReviewResult
from winnow.curate.export.collect import read_predictions
from winnow.curate.workspace import find_workspace
from winnow.deploy.inference import predict as prediction
from winnow.workflow import scoring

YELLOW = (250, 250, 20)
BETWEEN = (135, 64, 130)  # slightly redder than blue


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two good pictures, an unfamiliar one, one between two classes, and a broken one."""
    root = tmp_path / "mixed"
    paint(root / "a.jpg", HUES["red"], 1)
    paint(root / "b.jpg", HUES["blue"], 2)
    paint(root / "c.jpg", YELLOW, 3)
    Image.new("RGB", (20, 20), BETWEEN).save(root / "d.png")
    (root / "e.jpg").write_bytes((root / "a.jpg").read_bytes()[:300])
    return root


class TestLines:
    def test_have_label_probability_familiarity_and_path(self, model: Path, mixed: Path) -> None:
        done = winnow("predict", model, "mixed")
        assert done.exit_code == 0
        head, *lines = done.stdout.splitlines()
        assert head.split() == ["label", "probability", "familiarity", "path"]
        rows = [line.split() for line in lines[:4]]
        assert [(row[0], row[-1]) for row in rows] == [
            ("red", "mixed/a.jpg"),
            ("blue", "mixed/b.jpg"),
            ("red", "mixed/c.jpg"),
            ("red", "mixed/d.png"),
        ]
        assert [row[3] == "unfamiliar" for row in rows] == [False, False, True, False]
        assert {line.index("mixed/") for line in lines} == {head.index("path")}
        assert lines[4].split()[:3] == ["-", "mixed/e.jpg", "truncated:"]

    def test_end_with_a_summary(self, model: Path, mixed: Path) -> None:
        last = winnow("predict", model, "mixed").stderr.splitlines()[-1]
        assert last.startswith("5 pictures at ")
        assert last.endswith(" per second: 1 unfamiliar (below 0.05), 1 could not be read.")

    def test_have_the_requested_number_of_labels(self, model: Path, mixed: Path) -> None:
        done = winnow("predict", model, "mixed/a.jpg", "--top", "2")
        first = done.stdout.splitlines()[1].split()
        assert (first[0], first[2] in ("blue", "green"), len(first)) == ("red", True, 6)
        assert len(winnow("predict", model, "mixed/a.jpg", "--top", "99").stdout.splitlines()[1].split()) == 8

    def test_escape_control_characters_in_names(self, tmp_path: Path) -> None:
        labels = ["\x1b[31mred\x1b[0m", "花" * 40, "two\nlines"]
        write_model(tmp_path / "model.onnx", labels=labels)
        paint(tmp_path / "photos" / "\x1b]0;title\x07.jpg", HUES["blue"], 0)
        paint(tmp_path / "photos" / "line\nbreak.jpg", HUES["green"], 0)
        paint(tmp_path / "photos" / "z.jpg", HUES["red"], 0)
        lines = winnow("predict", "model.onnx", "photos").stdout.splitlines()
        assert len(lines) == 4
        assert all(line.isprintable() for line in lines)
        assert lines[1].startswith("\\x1b[31mred\\x1b[0m ")
        assert lines[1].endswith("photos/\\x1b]0;title\\x07.jpg")
        assert "花…" in lines[2]
        assert lines[2].endswith("line\\nbreak.jpg")


class TestData:
    def test_is_one_document(self, model: Path, mixed: Path) -> None:
        document = winnow_json("predict", model, "mixed")
        first, _, unfamiliar, _, broken = document["predictions"]
        assert first == {
            "path": "mixed/a.jpg",
            "label": "red",
            "probability": pytest.approx(0.99, abs=0.02),
            "familiarity": pytest.approx(0.98, abs=0.03),
            "unfamiliar": False,
            "problem": None,
            "problem_message": None,
        }
        assert unfamiliar["unfamiliar"] is True
        assert (broken["label"], broken["probability"], broken["unfamiliar"]) == (None, None, None)
        assert broken["problem"] == "truncated"
        assert broken["problem_message"].startswith("the header is damaged")
        assert document["pictures"] == 5
        assert (document["failed"], document["unfamiliar"], document["familiarity_threshold"]) == (1, 1, 0.05)
        assert document["images_per_second"] > 0
        assert document["model"] == str(model)

    def test_has_the_best_labels(self, model: Path, mixed: Path) -> None:
        document = winnow_json("predict", model, "mixed", "--top", 2)
        pairs = document["predictions"][0]["top"]
        assert [pair["label"] for pair in pairs][0] == "red"
        assert pairs[0]["probability"] == document["predictions"][0]["probability"]
        assert len(pairs) == 2
        assert document["predictions"][4]["top"] == []

    def test_is_a_document_a_line(self, model: Path, mixed: Path) -> None:
        done = winnow("predict", model, "mixed", "--jsonl")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert rows == winnow_json("predict", model, "mixed")["predictions"]

    def test_is_csv(self, model: Path, tmp_path: Path) -> None:
        write_model(tmp_path / "odd.onnx", labels=['a,"b"', "=1+1", "two\nlines"])
        paint(tmp_path / "odd" / "a,b\nc.jpg", HUES["red"], 0)
        paint(tmp_path / "odd" / "d.jpg", HUES["blue"], 0)
        (tmp_path / "odd" / "e.jpg").touch()
        done = winnow("predict", "odd.onnx", "odd", "--csv", "--top", 2)
        rows = list(csv.DictReader(done.stdout.splitlines(keepends=True)))
        columns = ["path", "label", "probability", "familiarity", "unfamiliar", "label_2", "probability_2"]
        assert [*rows[0]] == [*columns, "problem", "problem_message"]
        assert [row["path"] for row in rows] == ["odd/a,b\nc.jpg", "odd/d.jpg", "odd/e.jpg"]
        assert [row["label"] for row in rows] == ["two\nlines", 'a,"b"', ""]
        assert rows[0]["label_2"] == "=1+1"
        assert [row["unfamiliar"] for row in rows] == ["false", "false", ""]
        assert rows[2]["problem"] == "empty"
        assert rows[2]["probability_2"] == ""

    @pytest.mark.slow
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_that_does_not_fit_on_the_disk_is_an_error(self, model: Path, mixed: Path, unbuffered: str) -> None:
        limited = (
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)); from winnow import cli; "
            "cli.main(['predict', 'model.onnx', 'mixed', '--json'])"
        )
        with Path("out.json").open("wb") as out:
            settings = {"env": os.environ | {"PYTHONPATH": PACKAGE, "PYTHONUNBUFFERED": unbuffered}}
            done = subprocess.run([sys.executable, "-c", limited], stdout=out, stderr=subprocess.PIPE, **settings)
        assert done.returncode != 0
        assert b"File too large: correct that and run the same command again" in done.stderr

    def test_has_names_that_are_not_utf8(self, model: Path, tmp_path: Path) -> None:
        try:
            paint(tmp_path / os.fsdecode(b"caf\xe9.jpg"), HUES["red"], 0)
        except OSError:
            pytest.skip("this file system has only names in UTF-8")
        for form in ((), ("--csv",), ("--jsonl",), ("--json",)):
            done = winnow("predict", model, os.fsdecode(b"caf\xe9.jpg"), *form)
            assert (done.exit_code, "caf%E9.jpg" in done.stdout) == (0, True)


class TestPaths:
    def test_come_from_a_list(self, model: Path, mixed: Path) -> None:
        document = json.loads(winnow("predict", model, "-", "--json", stdin="mixed/a.jpg\nnot there.jpg\n").stdout)
        assert [row["path"] for row in document["predictions"]] == ["mixed/a.jpg", "not there.jpg"]
        assert document["predictions"][1]["problem_message"] == "no such file: check the path"
        paint(Path("two\nlines.jpg"), HUES["red"], 0)
        listed = winnow("predict", model, "mixed/b.jpg", "-", "--jsonl", stdin=b"two\nlines.jpg\0mixed/a.jpg\0")
        paths = [json.loads(line)["path"] for line in listed.stdout.splitlines()]
        assert paths == ["mixed/b.jpg", "two\nlines.jpg", "mixed/a.jpg"]

    def test_are_needed(self, model: Path) -> None:
        done = winnow("predict", model)
        assert (done.exit_code, "Missing argument 'PATH...'" in done.stderr) == (2, True)
        done = winnow("predict", model, "-", stdin="\n")
        assert (done.exit_code, done.stderr.splitlines()[-1]) == (
            1,
            "Error: no picture was found in the list: name pictures, or a folder that holds some",
        )

    def test_that_hold_nothing_that_can_be_read_are_an_error(self, model: Path) -> None:
        done = winnow("predict", model, "nothing.jpg", "--json")
        assert done.exit_code == 1
        assert json.loads(done.stdout)["predictions"][0]["problem"] == "unreadable"

    def test_may_be_unreadable(self, model: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def access(path: Any, mode: int, **how: Any) -> bool:  # as it is for those who are not root
            return mode == os.F_OK or Path(path).name != "b.jpg"

        monkeypatch.setattr(os, "access", access)
        rows = winnow_json("predict", model, "mixed/a.jpg", "mixed/b.jpg", "")["predictions"]
        assert [row["path"] for row in rows] == ["mixed/a.jpg", "mixed/b.jpg", ""]
        assert rows[2]["problem_message"] == "no such file: the path is empty"

    @pytest.mark.slow
    def test_may_be_thousands(self, model: Path, mixed: Path) -> None:
        done = winnow("predict", model, "-", "--jsonl", stdin="mixed/a.jpg\n" * 1000)
        assert len(done.stdout.splitlines()) == 1000


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--json", "--csv"], "--json, --jsonl and --csv exclude each other"),
            (["--below", "0.9"], "--below goes with --review or --into"),
            (["--copy"], "--copy goes with --sort-into, --into or --review"),
            (["--top", "0"], "0 is not in the range x>=1"),
        ],
    )
    def test_that_makes_no_sense_is_refused(self, model: Path, mixed: Path, arguments: list[str], message: str) -> None:
        done = winnow("predict", model, "mixed", *arguments)
        assert done.exit_code == 2
        assert message in done.stderr

    def test_with_a_file_that_is_no_model_prints_one_line(self, mixed: Path) -> None:
        done = winnow("predict", "mixed", "mixed")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            "Error: mixed is a folder, not a model: name a FILE.onnx that `winnow export RUN` wrote\n"
        )


class TestSorting:
    def test_links_each_picture_once_into_the_folder_of_its_label(self, model: Path, mixed: Path) -> None:
        document = winnow_json("predict", model, "mixed", "mixed/a.jpg", "--sort-into", "sorted")
        assert document["sorted_into"] == str(Path("sorted").resolve())
        links = sorted(str(path) for path in Path("sorted").glob("*/*"))
        assert links == ["sorted/_unfamiliar/c.jpg", "sorted/blue/b.jpg", "sorted/red/a.jpg", "sorted/red/d.png"]
        assert Path("sorted/red/a.jpg").readlink() == mixed / "a.jpg"

    def test_counts_links_to_one_picture_once(self, model: Path, mixed: Path, tmp_path: Path) -> None:
        for name in ("one.jpg", "two.jpg"):
            Path(name).symlink_to(mixed / "c.jpg")
        winnow_json(
            "predict", model, "one.jpg", "two.jpg", "mixed/c.jpg", "--sort-into", "sorted", "--into", "uncertain"
        )
        for folder in ("sorted/_unfamiliar", "uncertain/red"):
            (put,) = Path(folder).iterdir()
            assert (put.name, put.readlink()) == ("one.jpg", mixed / "c.jpg")

    def test_copies_when_asked_to(self, model: Path, mixed: Path) -> None:
        winnow_json("predict", model, "mixed", "--sort-into", "sorted", "--copy")
        assert not Path("sorted/blue/b.jpg").is_symlink()
        assert Path("sorted/blue/b.jpg").read_bytes() == (mixed / "b.jpg").read_bytes()

    def test_never_writes_among_the_pictures(self, model: Path, mixed: Path) -> None:
        before = sorted(mixed.rglob("*"))
        for option in ("--sort-into", "--into"):
            done = winnow("predict", model, "mixed", option, "mixed/new")
            assert (done.exit_code, done.stdout) == (1, "")
            assert "would lie inside the pictures" in done.stderr
        assert sorted(mixed.rglob("*")) == before


class TestUncertain:
    def test_are_collected_to_be_labelled(self, model: Path, mixed: Path) -> None:
        done = winnow("predict", model, "mixed", "mixed/c.jpg", "--into", "uncertain", "--below", 0.7)
        assert done.exit_code == 0, done.output
        assert sorted(str(path) for path in Path("uncertain").glob("*/*")) == [
            "uncertain/red/c.jpg",
            "uncertain/red/d.png",
        ]
        assert "2 uncertain pictures are in " in done.stderr
        assert done.stderr.splitlines()[-1].startswith("Next: winnow review ")
        workspace = find_workspace(Path("uncertain"))
        rows = manifest.read(workspace).to_pylist()
        assert [row["path"] for row in rows] == ["red/c.jpg", "red/d.png"]
        kept = read_predictions(workspace)
        assert kept[rows[0]["id"]]["predicted"] == "red"
        assert kept[rows[0]["id"]]["familiarity"] < 0.05
        assert 0.4 < kept[rows[1]["id"]]["probability"] < 0.7

    def test_are_counted_in_the_document(self, model: Path, mixed: Path) -> None:
        document = winnow_json("predict", model, "mixed", "--into", "uncertain", "--below", 0.4)
        assert document["doubtful"] == {"pictures": 1, "below": 0.4, "folder": str(Path("uncertain").resolve())}

    def test_may_be_none(self, model: Path, mixed: Path) -> None:
        done = winnow("predict", model, "mixed/a.jpg", "--review")
        assert done.exit_code == 0
        assert done.stderr.splitlines()[-1] == "No picture is uncertain: all are familiar and at least 0.5 probable"
        assert not list(Path().glob("*uncertain*"))

    def test_are_opened_in_the_app(self, model: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The App itself is opened on such a folder in the tests of `curate.export.collect`."""
        opened = {}

        def open_review(workspace: Any, store: Path, options: ReviewOptions, on_message: Any) -> ReviewResult:
            opened.update(images=workspace.images, options=options, store=store)
            return ReviewResult("")

        def score(workspace: Any, config: Any, reporter: Any) -> Any:
            return SimpleNamespace(store="vectors.lance")

        monkeypatch.setattr(launch, "open_review", open_review)  # the App is opened in tests of `curate.export.collect`
        monkeypatch.setattr(scoring, "score", score)
        done = winnow("predict", model, "mixed", "--review", "--port", 5999, "--no-browser")
        assert done.exit_code == 0, done.output
        (folder,) = Path().glob("model-uncertain-*[0-9]")
        assert opened["images"] == folder.resolve()
        options = opened["options"]
        assert (options.port, options.browser, options.accept) == (5999, False, False)
        expected = f"Next: winnow materialize {folder.resolve()} labelled --workspace {folder.resolve()}.winnow"
        assert done.stderr.splitlines()[-1] == expected
        assert (folder / "red" / "c.jpg").is_symlink()

    def test_cannot_be_collected_in_a_folder_with_files(self, model: Path, mixed: Path) -> None:
        Path("uncertain").mkdir()
        Path("uncertain/mine.txt").touch()
        done = winnow("predict", model, "mixed", "--into", "uncertain")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "uncertain is not empty: name a new folder" in done.stderr

    @pytest.mark.parametrize(
        "arguments", [["--sort-into", "new"], ["--sort-into", "new/red"], ["--sort-into", "new.winnow"]]
    )
    def test_are_apart_from_what_is_sorted(self, model: Path, mixed: Path, arguments: list[str]) -> None:
        done = winnow("predict", model, "mixed", "--into", "new", *arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "would lie in one another: give --sort-into and --into folders apart" in done.stderr
        assert not list(Path().glob("new*"))

    def test_are_refused_before_the_work_where_an_old_workspace_is_left(self, model: Path, mixed: Path) -> None:
        Path("new.winnow").mkdir()
        done = winnow("predict", model, "mixed", "--into", "new")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "new.winnow exists, from an earlier folder" in done.stderr

    def test_have_a_workspace_of_their_own(self, model: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WINNOW_WORKSPACE", str(Path("other.winnow").resolve()))
        document = winnow_json("predict", model, "mixed", "--into", "new")
        assert document["doubtful"]["folder"] == str(Path("new").resolve())
        assert read_predictions(find_workspace(Path("new"), Path("new.winnow")))

    @pytest.mark.parametrize(
        ("error", "message"), [(InputError("full"), "full"), (KeyboardInterrupt(), "Nothing is coll")]
    )
    def test_that_cannot_be_collected_cost_no_predictions(
        self, model: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, message: str
    ) -> None:
        def collect(*_: object) -> None:
            raise error

        monkeypatch.setattr("winnow.curate.export.collect.collect", collect)
        done = winnow("predict", model, "mixed", "--into", "new", "--json")
        assert (done.exit_code, message in done.stderr) == (1, True)
        assert "run the same command" not in done.stderr
        document = json.loads(done.stdout)
        assert len(document["predictions"]) == 5
        assert (document["doubtful"]["pictures"], document["doubtful"]["folder"]) == (2, None)


class TestEnds:
    @pytest.fixture
    def many(self, mixed: Path, tmp_path: Path) -> Path:
        """A list of files that would take a minute to predict."""
        (tmp_path / "list").write_text("mixed/a.jpg\n" * 60_000)
        return tmp_path / "list"

    @pytest.mark.slow
    @pytest.mark.parametrize("form", ["--csv", "--jsonl", "--top=2"])
    def test_quietly_when_the_reader_closes_the_pipe(self, model: Path, many: Path, form: str) -> None:
        with many.open() as paths:
            run = start_winnow("predict", str(model), "-", form, stdin=paths)
        assert run.stdout is not None
        assert run.stderr is not None
        assert run.stdout.readline()
        run.stdout.close()
        assert run.wait(20) == 1
        assert run.stderr.read() == ""
        run.stderr.close()

    def test_at_ctrl_c_with_a_message_that_nothing_is_collected(
        self, model: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def predict(*arguments: Any) -> Any:
            yield from islice(original(*arguments), 3)
            raise KeyboardInterrupt

        original = prediction.predict
        monkeypatch.setattr(prediction, "predict", predict)
        done = winnow("predict", model, "mixed", "--into", "new")
        assert done.exit_code == 1
        first, last = done.stderr.splitlines()
        assert first.startswith("Interrupted: 3 pictures")
        assert last.startswith(f"Nothing is collected in {Path('new').resolve()}: ")
        assert not list(Path().glob("new*"))

    @pytest.mark.slow
    @pytest.mark.parametrize("form", ["--csv", "--jsonl", "--json", "--top=2"])
    def test_at_ctrl_c_with_whole_lines(self, model: Path, many: Path, form: str) -> None:
        with many.open() as paths, Path("out").open("wb") as out:
            run = start_winnow("predict", str(model), "-", form, "--sort-into", "sorted", stdin=paths, stdout=out)
        while not Path("sorted/red/a.jpg").is_symlink():
            time.sleep(0.05)
            assert run.poll() is None
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        _, stderr = run.communicate(timeout=20)
        assert run.returncode == 1
        assert stderr.startswith("Interrupted: ")
        assert len(stderr.splitlines()) == 1
        lines = Path("out").read_text().splitlines(keepends=True)
        if form == "--json":
            assert lines == []
            return
        assert all(line.endswith("\n") for line in lines)
        rows = [json.loads(line) for line in lines] if form == "--jsonl" else lines[1:]
        assert abs(len(rows) - int(stderr.split()[1].replace(",", ""))) <= 1


class TestEvaluate:
    def test_shows_the_scores_though_nothing_can_be_written(self, model: Path, hues: Path) -> None:
        Path("page.html").mkdir()
        for arguments in (["--csv", hues / "red/00.jpg/rows.csv"], ["--report", "one", "--csv", "./one"]):
            done = winnow("evaluate", model, hues, *arguments)
            assert (done.exit_code, done.stdout) == (1, "")  # before the work
        Path("rows.csv").symlink_to("/dev/full")
        done = winnow("evaluate", model, hues, "--csv", "rows.csv", "--json")
        assert done.exit_code == 1
        assert json.loads(done.stdout)["pictures"] == 60
        assert "rows.csv: No space left on device: correct that or name another file" in done.stderr

    @pytest.mark.slow
    def test_writes_into_a_pipe(self, model: Path, hues: Path) -> None:
        run = start_winnow("evaluate", str(model), str(hues), "--csv", "/dev/stdout")
        assert run.stdout is not None
        assert run.stderr is not None
        lines = run.stdout.read().splitlines()
        assert (run.wait(), lines[-60].split(",")[:3]) == (0, ["blue/00.jpg", "blue", "blue"])
        assert lines[0].startswith("Weighted F1 1.000")
        run.stdout.close()
        run.stderr.close()

    @pytest.mark.slow
    def test_evaluates_a_folder_and_writes_nothing_in_it(self, model: Path, hues: Path) -> None:
        before = sorted(hues.rglob("*"))
        result = winnow_json("evaluate", model, hues, "--report", "page.html", "--csv", "rows.csv")
        assert result["weighted_f1"]["mean"] == 1
        assert result["pictures"] == 60
        assert sorted(hues.rglob("*")) == before
        assert Path("page.html").read_text().startswith("<!DOCTYPE html>")
        assert len(Path("rows.csv").read_text().splitlines()) == 61
        done = winnow("evaluate", model, hues)
        assert "Weighted F1 1.000" in done.stdout

    def test_takes_labels_from_a_file(self, model: Path, hues: Path) -> None:
        Path("labels.csv").write_text("path,label\nred/00.jpg,red\nblue/00.jpg,red\n")
        result = winnow_json("evaluate", model, hues, "--labels", "labels.csv")
        assert (result["pictures"], result["accuracy"]) == (2, 0.5)

    def test_refuses_to_write_among_the_pictures(self, model: Path, hues: Path) -> None:
        done = winnow("evaluate", model, hues, "--report", hues / "page.html")
        assert done.exit_code == 1
        assert "page.html would lie inside the pictures" in done.stderr
