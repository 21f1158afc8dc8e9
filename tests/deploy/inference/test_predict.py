"""Files are found by path, folder or pattern, and predicted in order; an unreadable file affects no other one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from support.models import write_model
from support.pictures import HUES
from support.project import PACKAGE

from winnow.common.errors import InputError
from winnow.deploy.inference import predict as predict_module
from winnow.deploy.inference.model import Model, load
from winnow.deploy.inference.predict import (
    Prediction,
    find_files,
    find_folders,
    parse_path_list,
    predict,
    top_labels,
)

YELLOW = (250, 250, 20)
SQUARES = [sum((a - b) ** 2 for a, b in zip(YELLOW, hue, strict=True)) / 255**2 for hue in HUES.values()]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load(write_model(tmp_path / "model.onnx"))


def paths(*arguments: str | Path) -> list[str]:
    return [path for path, _ in find_files(arguments)]


def plain(file: Path, hue: tuple[int, int, int] = HUES["red"], size: tuple[int, int] = (20, 20), **how: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, hue).save(file, **how)
    return file


class TestFiles:
    def test_are_given_as_they_were_named_and_in_that_order(self, hues: Path) -> None:
        arguments = [hues / "red" / "03.jpg", hues / "blue" / "01.jpg", hues / "red" / "03.jpg"]
        assert list(find_files(arguments)) == [(str(file), file) for file in arguments]

    def test_of_a_folder_are_the_pictures_in_it_by_name_or_content(self, tmp_path: Path) -> None:
        root = tmp_path / "photos"
        plain(root / "b.jpg")
        plain(root / "deep" / "c.PNG")
        plain(root / "a.png").rename(root / "a")
        (root / "empty.jpg").touch()
        (root / "notes.txt").write_text("no picture")
        (root / ".hidden.jpg").write_bytes((root / "b.jpg").read_bytes())
        os.mkfifo(root / "pipe")
        messages: list[str] = []
        walked = [path for path, _ in find_files([root], messages.append)]
        assert walked == [f"{root}/{name}" for name in ("a", "b.jpg", "empty.jpg", "deep/c.PNG")]
        assert messages == [f"{root}: skipped 2 files that are no pictures"]

    def test_of_a_folder_named_from_here_are_named_from_here(self, hues: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert paths("hues")[0] == "hues/blue/00.jpg"
        monkeypatch.chdir(hues / "red")
        assert paths(".")[:2] == ["00.jpg", "01.jpg"]
        assert paths("../blue/")[0] == "../blue/00.jpg"

    def test_of_a_pattern_are_what_it_matches(self, hues: Path) -> None:
        assert paths("hues/*/0[12].jpg") == [f"hues/{hue}/0{n}.jpg" for hue in ("blue", "green", "red") for n in (1, 2)]
        assert len(paths("hues/**/1?.jpg")) == 30
        assert len(paths("hues/r*")) == 20
        for pattern in ("hues/**", "hues*/**/*", "**"):
            assert len(set(paths(pattern))) == len(paths(pattern)) == 60

    def test_whose_names_look_like_patterns_are_themselves(self, tmp_path: Path) -> None:
        plain(tmp_path / "[a]*.jpg")
        plain(tmp_path / "a1.jpg")
        assert paths("[a]*.jpg") == ["[a]*.jpg"]
        assert paths("[a]1.jpg") == ["a1.jpg"]

    @pytest.mark.parametrize("name", ["nothing.jpg", "nothing*.jpg", "", "nul\0.jpg", "x" * 5000, "a.jpg/b.jpg"])
    def test_that_do_not_exist_become_problems_when_they_are_read(self, model: Model, name: str) -> None:
        plain(Path("a.jpg"))
        bad, good = predict(model, find_files([name, "a.jpg"]))
        assert (bad.path, bad.problem, bad.label) == (name, "unreadable", None)
        assert bad.problem_message is not None
        assert bad.problem_message.startswith("no such file") or len(name) > 255 or "/" in name
        assert good.label == "red"

    def test_in_an_empty_folder_are_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match=r"no picture was found in empty"):
            list(find_files(["empty"]))
        with pytest.raises(InputError, match="no picture was found in the list"):
            list(find_files([]))

    def test_whose_names_are_not_utf8_are_escaped_and_read(self, tmp_path: Path, model: Model) -> None:
        name = os.fsdecode(b"caf\xe9.jpg")
        try:
            plain(tmp_path / "odd" / name)
        except OSError:
            pytest.skip("this file system has only names in UTF-8")
        plain(tmp_path / "odd" / "two\nlines.jpg")
        walked = list(predict(model, find_files([tmp_path / "odd"])))
        assert [row.path for row in walked] == [f"{tmp_path}/odd/caf%E9.jpg", f"{tmp_path}/odd/two\nlines.jpg"]
        (alone,) = predict(model, find_files([f"odd/{name}"]))
        assert (alone.path, alone.label, alone.file) == ("odd/caf%E9.jpg", "red", Path("odd") / name)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_of_a_folder_that_may_not_be_listed_are_skipped(self, hues: Path) -> None:
        (hues / "red").chmod(0)
        messages: list[str] = []
        assert len(list(find_files([hues], messages.append))) == 40
        assert messages == [f"{hues}/red: Permission denied; skipped: check the permissions of the folder"]
        (hues / "red").chmod(0o700)

    def test_are_walked_no_further_than_they_are_used(self, tmp_path: Path, model: Model) -> None:
        for number in range(60):
            plain(tmp_path / "many" / f"{number:02}.png")
        taken: list[str] = []
        stream = predict(model, (taken.append(path) or (path, file) for path, file in find_files(["many"])), workers=2)
        for used, _ in enumerate(stream, start=1):
            assert len(taken) <= used + 4 * (2 * 2 + 1)
        assert len(taken) == 60

    def test_of_a_list_are_separated_by_lines_or_nul(self) -> None:
        assert parse_path_list(b"a b.jpg\r\nc.jpg\n\n") == ["a b.jpg", "c.jpg"]
        assert parse_path_list(b"two\nlines.jpg\0c.jpg\0") == ["two\nlines.jpg", "c.jpg"]
        assert parse_path_list(b"caf\xe9.jpg\n") == [os.fsdecode(b"caf\xe9.jpg")]
        assert parse_path_list(b"") == []

    def test_and_folders_are_distinguished(self, hues: Path) -> None:
        assert find_folders(["hues/red/00.jpg", "hues/g*", "nothing", hues]) == [Path("hues/green"), hues]


class TestPredict:
    def test_returns_label_probability_and_familiarity_in_order(self, hues: Path, model: Model) -> None:
        predictions = list(predict(model, find_files([hues])))
        assert [row.label for row in predictions] == ["blue"] * 20 + ["green"] * 20 + ["red"] * 20
        first = predictions[0]
        assert first.file == hues / "blue" / "00.jpg"
        assert first.probabilities is not None
        assert first.probability == pytest.approx(first.probabilities.max())
        assert first.probability == pytest.approx(0.98, abs=0.02)
        assert first.familiarity is not None
        assert 0.9 < first.familiarity <= 1
        assert (first.unfamiliar, first.problem, first.problem_message) == (False, None, None)

    def test_marks_what_is_below_the_threshold(self, tmp_path: Path) -> None:
        plain(tmp_path / "unusual.png", YELLOW)
        for threshold, mark in (("0.05", True), ("0", False)):
            model = load(write_model(tmp_path / "model.onnx", familiarity_threshold=threshold))
            (prediction,) = predict(model, find_files(["unusual.png"]))
            assert prediction.familiarity == pytest.approx(np.exp(-12 * min(SQUARES)), rel=0.05)
            assert prediction.unfamiliar is mark

    def test_goes_on_after_what_cannot_be_read(self, tmp_path: Path, model: Model) -> None:
        plain(tmp_path / "a.jpg")
        good = plain(tmp_path / "b.jpg", HUES["blue"]).read_bytes()
        (tmp_path / "cut.jpg").write_bytes(good[: len(good) // 2])
        (tmp_path / "empty.jpg").touch()
        (tmp_path / "no.jpg").write_text("no picture")
        (tmp_path / "link.jpg").symlink_to("nowhere")
        predictions = list(
            predict(model, find_files(["cut.jpg", "a.jpg", "empty.jpg", "no.jpg", "link.jpg", ".", "b.jpg"]))
        )
        problems = {row.path: row.problem for row in predictions if row.problem}
        assert problems == {
            "cut.jpg": "truncated",
            "empty.jpg": "empty",
            "no.jpg": "not_an_image",
            "link.jpg": "unreadable",
        }
        assert [row.label for row in predictions if row.problem is None] == ["red", "red", "blue", "blue"]
        empty = next(row for row in predictions if row.path == "empty.jpg")
        assert empty == Prediction(empty.path, empty.file, problem="empty", problem_message=empty.problem_message)
        assert empty.problem_message == "the file has no bytes: copy it again or remove it"

    def test_reads_ink_animations_transparency_and_sixteen_bits(self, tmp_path: Path, model: Model) -> None:
        red = Image.new("RGB", (30, 20), HUES["red"])
        red.convert("CMYK").save(tmp_path / "ink.jpg")
        red.convert("P").save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("P", (30, 20))] * 3)
        red.convert("RGBA").save(tmp_path / "clear.png")
        Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "deep.png")
        plain(tmp_path / "thin.png", size=(1, 500))
        labels = {
            row.path: row.label
            for row in predict(model, find_files(["ink.jpg", "moving.gif", "clear.png", "thin.png"]))
        }
        assert labels == dict.fromkeys(labels, "red")
        (deep,) = predict(model, find_files(["deep.png"]))
        assert deep.problem is None

    def test_of_any_size_gives_the_graph_the_whole_picture(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (1000, 40), HUES["red"])
        image.paste(HUES["blue"], (480, 0, 520, 40))  # all that a crop would show
        image.save(tmp_path / "wide.png")
        (tmp_path / "cut.png").write_bytes((tmp_path / "wide.png").read_bytes()[:60])
        whole = load(write_model(tmp_path / "any.onnx", any_size=True))
        square = load(write_model(tmp_path / "square.onnx"))
        names = ["wide.png", "cut.png", "wide.png"]
        assert [row.label for row in predict(whole, find_files(names))] == ["red", None, "red"]
        assert [row.label for row in predict(square, find_files(names))] == ["blue", None, "blue"]

    @pytest.mark.slow
    def test_of_any_size_refuses_what_the_graph_has_no_memory_for(self, tmp_path: Path) -> None:
        Image.new("1", (8001, 8000)).save(tmp_path / "huge.png")
        (prediction,) = predict(load(write_model(tmp_path / "any.onnx", any_size=True)), find_files(["huge.png"]))
        assert prediction.problem == "too_large"
        assert prediction.problem_message == (
            "8001 x 8000 is over 50 megapixels, the limit of a model for pictures of any size: make it smaller"
        )

    def test_with_any_size_runs_large_pictures_one_after_another(
        self, hues: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(predict_module, "MAX_PIXELS", 48 * 40 + 1)
        model = load(write_model(tmp_path / "any.onnx", any_size=True))
        original, running, counts = model.session(), [], []

        def session(pixels: np.ndarray) -> object:
            running.append(1)
            counts.append(len(running))
            time.sleep(0.01)
            running.pop()
            return original(pixels)

        monkeypatch.setattr(Model, "session", lambda self: session)
        assert [row.label for row in predict(model, find_files([hues / "red", hues / "blue"]), 4)] == ["red"] * 20 + [
            "blue"
        ] * 20
        assert set(counts) == {1}
        monkeypatch.setattr(predict_module, "MAX_PIXELS", 3 * 48 * 40)
        list(predict(model, find_files([hues / "red"]), 4))
        assert max(counts) == 3

    def test_is_the_same_with_any_number_of_workers(self, hues: Path, model: Model) -> None:
        one, many = (
            [(row.path, row.label, row.probability, row.familiarity) for row in predict(model, find_files([hues]), n)]
            for n in (1, 5)
        )
        assert one == many

    def test_lists_the_most_probable_labels_in_order(self, hues: Path, model: Model) -> None:
        (prediction,) = predict(model, find_files([hues / "green" / "00.jpg"]))
        assert prediction.probabilities is not None
        pairs = top_labels(model, prediction, 9)
        assert pairs[0] == ("green", prediction.probability)
        assert [label for label, _ in pairs] == [model.labels[c] for c in np.argsort(-prediction.probabilities)]
        assert top_labels(model, prediction, 2) == pairs[:2]
        assert top_labels(model, Prediction("a.jpg", Path("a.jpg"), problem="empty"), 2) == []

    def test_reports_a_model_that_cannot_be_run(self, hues: Path, tmp_path: Path) -> None:
        proto = onnx.load(write_model(tmp_path / "model.onnx"))
        proto.opset_import[0].version = 99
        (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
        with pytest.raises(InputError, match="cannot be run"):
            next(predict(load(tmp_path / "model.onnx"), find_files([hues])))

    @pytest.mark.slow
    def test_imports_no_training_library(self, hues: Path, tmp_path: Path) -> None:
        write_model(tmp_path / "model.onnx")
        code = (
            "import sys\nfrom winnow import cli\n"
            "try: cli.main(['predict', 'model.onnx', 'hues', '--sort-into', 'sorted', '--json'])\n"
            "except SystemExit: pass\n"
            "heavy = ('tensorflow', 'keras', 'sklearn', 'matplotlib', 'fiftyone', 'scipy', 'lance')\n"
            "print('LOADED', [name for name in heavy if name in sys.modules])"
        )
        settings = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": PACKAGE}}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **settings)
        assert done.stdout.splitlines()[-1] == "LOADED []"
