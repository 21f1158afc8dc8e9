"""Exporting a run: what the file holds, what it is compared with, when it is not written."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from support.command_line import winnow, winnow_error, winnow_json
from support.pictures import HUES, paint, paint_hues, write_colours
from support.runs import read_predictions

from winnow.deploy.inference.model import load
from winnow.embed.images import resize_to_square


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the hues, the colour backbone and a workspace with a head that was trained on them."""
    folder = tmp_path_factory.mktemp("trained")
    hues, colours = paint_hues(folder / "hues"), write_colours(folder / "colours.onnx")
    workspace = ("--workspace", folder / "hues.winnow")
    winnow_json("train", hues, *workspace, "--backbone", colours, "--head", "logistic")
    return folder


@pytest.fixture
def run(trained: Path, hues: Path, colours: Path) -> Path:
    """The run of that head, in the folder of the test."""
    shutil.copytree(trained / "hues.winnow", "hues.winnow")
    (folder,) = Path("hues.winnow/runs").iterdir()
    for file in (Path("hues.winnow/workspace.json"), folder / "run.json"):
        file.write_text(file.read_text().replace(str(trained), str(hues.parent)))
    return folder.resolve()


def pixels(file: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(file).convert("RGB"))


def test_the_file_predicts_what_the_run_predicted(run: Path, hues: Path) -> None:
    report = winnow_json("export", run, "-o", "model.onnx")
    assert report["model"] == "model.onnx"
    session = onnxruntime.InferenceSession("model.onnx")
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["batch", 96, 96, 3])
    assert [value.name for value in session.get_outputs()] == ["label", "probabilities", "embedding", "familiarity"]
    rows = read_predictions(run, "test")
    squares = np.stack([resize_to_square(pixels(hues / row["path"]), 96) for row in rows])
    label, probabilities, embedding, familiarity = session.run(None, {"image": squares})
    assert label.tolist() == [row["predicted"] for row in rows]
    stored = np.array([[float(row[f"p_{name}"]) for name in sorted(HUES)] for row in rows])
    np.testing.assert_allclose(probabilities, stored, atol=1e-2)  # of vectors stored as float16
    np.testing.assert_allclose(embedding, squares.mean(axis=(1, 2)) / 255, atol=1e-5)
    assert familiarity.dtype == np.float32
    assert ((familiarity >= 0) & (familiarity <= 1)).all()
    assert report["parity"]["pictures"] == len(rows)
    assert report["parity"]["labels_differ"] == 0
    assert report["parity"]["largest_difference"] <= 1e-4


def test_the_metadata_describe_the_file(run: Path, hues: Path) -> None:
    winnow_json("export", run, "-o", "model.onnx")
    model = load(Path("model.onnx"))
    metadata, document = model.metadata, json.loads((run / "metrics.json").read_text())
    assert model.labels == sorted(HUES)
    assert metadata["preprocessing"].startswith("resize(110)|crop(96)|scale(-1,1)")
    assert len(metadata["backbone"]) == 64
    assert metadata["metrics"]["weighted_f1"] == document["heads"][0]["weighted_f1"]
    assert metadata["metrics"]["splits"] == 1
    training = metadata["training"]
    assert training["pictures"] == training["pictures_as_found"] == 42
    assert training["as_found"] == training["as_decided"] == 60
    assert training["classes"] == {"blue": 14, "green": 14, "red": 14}
    parts = {part: [row["id"][:12] for row in read_predictions(run, part)] for part in ("val", "test")}
    assert len(metadata["trained_on"]) == 42 + len(parts["val"])
    assert set(metadata["trained_on"]) >= set(parts["val"])
    assert not set(metadata["trained_on"]) & set(parts["test"])
    assert metadata["familiarity"]["calibrated_on"] == len(parts["val"])
    held_out = metadata["familiarity"]["held_out"]
    assert held_out["pictures"] == len(read_predictions(run, "test"))
    assert 0 <= held_out["rejected"] < 0.5
    assert metadata["familiarity"]["threshold"] == float(metadata["familiarity_threshold"]) == model.threshold == 0.05
    onnx.checker.check_model(onnx.load("model.onnx"), full_check=True)


def test_the_folder_of_the_weights_is_not_published(run: Path) -> None:
    head = onnx.load(run / "head.onnx")
    next(entry for entry in head.metadata_props if entry.key == "params").value = '{"weights": "/home/me/own.h5"}'
    onnx.save(head, run / "head.onnx")
    winnow_json("export", run, "-o", "model.onnx")
    assert load(Path("model.onnx")).metadata["params"] == {"weights": "own.h5"}
    assert "/home/me" not in Path("model.md").read_text()


def test_a_model_card_lies_beside_it(run: Path) -> None:
    report = winnow_json("export", run, "-o", "deploy/model.onnx")
    assert report["card"] == "deploy/model.md"
    text = Path("deploy/model.md").read_text()
    assert text.startswith("---\n")
    assert "image-classification" in text
    assert sorted(path.name for path in Path("deploy").iterdir()) == ["model.md", "model.onnx"]


@pytest.mark.slow
def test_the_metadata_count_pruned_pictures(hues: Path, colours: Path) -> None:
    winnow_json("scan", hues)
    winnow_json("decide", hues, "--drop", *(hues / "red" / f"{number:02d}.jpg" for number in range(6)))
    run = winnow_json("train", hues, "--backbone", colours, "--head", "logistic")["run"]
    winnow_json("export", run, "-o", "model.onnx")
    training = load(Path("model.onnx")).metadata["training"]
    assert (training["as_found"], training["as_decided"], training["dropped"]) == (60, 54, {"off_topic": 6})
    assert training["pictures_as_found"] == 42
    assert training["pictures"] == 42 - (14 - training["classes"]["red"])


@pytest.mark.parametrize(
    "options",
    [("--input", "any"), ("--precision", "fp16"), ("--tta", "flip")],
)
def test_what_options_change_is_measured_and_stored(run: Path, hues: Path, options: tuple[str, str]) -> None:
    done = winnow("export", run, "-o", "model.onnx", *options)
    assert done.exit_code == 0, done.output
    assert "Weighted F1" in done.output
    model = load(Path("model.onnx"))
    assert model.metadata[options[0].removeprefix("--").replace("-", "_")] == options[1]
    parity = model.metadata["parity"]
    assert parity["largest_difference"] < 0.02
    assert abs(parity["weighted_f1"]["change"]) <= parity["weighted_f1"]["high"] - parity["weighted_f1"]["low"] + 0.1
    row = read_predictions(run, "test")[0]
    square = resize_to_square(pixels(hues / row["path"]), 96)
    image = pixels(hues / row["path"]) if options[1] == "any" else square[None]
    label = onnxruntime.InferenceSession("model.onnx").run(["label"], {"image": image})[0]
    assert label.tolist() == [row["predicted"]]


@pytest.mark.slow
def test_run_and_output_may_be_left_out(run: Path) -> None:
    report = winnow_json("export")
    assert report["run"] == str(run)
    assert report["model"] == str(run / "model.onnx")
    assert winnow_json("export", run.name)["model"] == str(run / "model.onnx")
    variant = winnow_json("export", run, "--input", "any", "--precision", "fp16")
    assert variant["model"] == str(run / "model-any-fp16.onnx")
    assert sorted(path.name for path in run.glob("model*")) == [
        "model-any-fp16.md",
        "model-any-fp16.onnx",
        "model.md",
        "model.onnx",
    ]


@pytest.mark.slow
class TestNotWritten:
    def test_when_the_file_differs_from_python(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from winnow.deploy import source

        fuse = source.fuse

        def wrong(*parts: Any, **options: Any) -> Any:
            model = fuse(*parts, **options)
            for node in model.graph.node:
                if node.output[0] == "probabilities":  # as if a mistake had crept into the graph
                    node.output[0] = "right"
                    model.graph.node.append(onnx.helper.make_node("Sqrt", ["right"], ["probabilities"]))
                    break
            return model

        monkeypatch.setattr(source, "fuse", wrong)
        message = winnow_error("export", run, "-o", "model.onnx")
        assert "differs from Python" in message
        assert ".jpg" in message
        assert not Path("model.onnx").exists()

    def test_among_the_pictures(self, run: Path, hues: Path) -> None:
        assert "only read" in winnow_error("export", run, "-o", hues / "model.onnx")
        assert not (hues / "model.onnx").exists()

    def test_under_another_kind_of_name(self, run: Path) -> None:
        assert "does not end in .onnx: name it FILE.onnx" in winnow_error("export", run, "-o", "model.bin")

    @pytest.mark.slow
    def test_of_a_comparison(self, hues: Path, colours: Path) -> None:
        options = ("--heads", "centroid,dummy", "--repeats", 2, "--jobs", 1)
        run = winnow_json("compare", hues, "--backbone", colours, *options)["run"]
        message = winnow_error("export", run, "-o", "model.onnx")
        assert "run `winnow train --head centroid` and export that run" in message

    def test_of_a_folder_that_is_no_run(self, run: Path, tmp_path: Path) -> None:
        assert "is no run folder: name a folder below" in winnow_error("export", tmp_path, "-o", "model.onnx")
        assert "is no run folder" in winnow_error("export", "nowhere", "-o", "model.onnx")

    def test_when_it_is_not_clear_which_run_is_meant(self, run: Path) -> None:
        shutil.copytree("hues.winnow", "other.winnow")
        expected = (
            "it is not clear which run is meant: name its folder in NAME.winnow/runs, or its workspace with --work"
        )
        assert expected in winnow_error("export", "nowhere")
        assert expected in winnow_error("export")

    def test_of_a_damaged_run(self, run: Path) -> None:
        head = run / "head.onnx"
        head.write_bytes(head.read_bytes()[:200])
        assert "is damaged" in winnow_error("export", run, "-o", "model.onnx")
        (run / "run.json").write_text("{")
        assert "is damaged" in winnow_error("export", run, "-o", "model.onnx")

    def test_of_a_run_of_an_earlier_version(self, run: Path) -> None:
        document = json.loads((run / "run.json").read_text())
        del document["embedding"]
        (run / "run.json").write_text(json.dumps(document))
        assert "an earlier version" in winnow_error("export", run, "-o", "model.onnx")

    def test_without_the_pictures(self, run: Path, hues: Path) -> None:
        shutil.rmtree(hues)
        assert str(hues) in winnow_error("export", run, "-o", "model.onnx")

    def test_without_the_vectors(self, run: Path) -> None:
        shutil.rmtree(run.parents[1] / "embeddings")
        assert "run `winnow embed` first" in winnow_error("export", run, "-o", "model.onnx")

    def test_without_the_backbone(self, run: Path, colours: Path) -> None:
        colours.unlink()
        assert "no such file" in winnow_error("export", run, "-o", "model.onnx")

    def test_with_another_backbone_than_that_of_the_run(self, run: Path, colours: Path) -> None:
        model = onnx.load(colours)
        (mean,) = (node for node in model.graph.node if node.op_type == "ReduceMean")
        mean.output[0] = "mean"  # red and blue change places; what the file says of itself stays
        model.graph.initializer.append(onnx.helper.make_tensor("order", onnx.TensorProto.INT64, [3], [2, 1, 0]))
        swap = onnx.helper.make_node("Gather", ["mean", "order"], ["embedding"], axis=1)
        model.graph.node.insert(list(model.graph.node).index(mean) + 1, swap)
        onnx.save(model, colours)
        message = winnow_error("export", run, "-o", "model.onnx", "--input", "any")
        assert re.search(r"\d of 9 test pictures get another label than in the run, as .*\.jpg", message)
        assert not Path("model.onnx").exists()

    @pytest.mark.slow
    def test_with_the_head_of_another_run(self, run: Path, hues: Path, colours: Path) -> None:
        other = Path(winnow_json("train", hues, "--backbone", colours, "--head", "centroid")["run"])
        shutil.copy(other / "head.onnx", run / "head.onnx")
        assert "head.onnx is not that of this run" in winnow_error("export", run, "-o", "model.onnx")

    def test_when_most_pictures_are_gone(self, run: Path, hues: Path) -> None:
        for row in read_predictions(run, "val")[:5]:
            paint(hues / row["path"], (9, 9, 9), 7)
        message = winnow_error("export", run, "-o", "model.onnx", "--input", "any")
        assert "5 of 9 val pictures are gone from" in message

    def test_for_a_share_out_of_range(self, run: Path) -> None:
        assert "from 0 to 0.5, not nan" in winnow_error("export", run, "-o", "model.onnx", "--unfamiliar", "nan")

    def test_without_its_card(self, run: Path) -> None:
        for name in ("model.md", "model.new.md"):
            Path(name).mkdir()
        assert "model.new.md: Is a directory" in winnow_error("export", run, "-o", "model.onnx")
        assert not Path("model.onnx").exists()
        assert [path for path in Path().iterdir() if path.name.startswith(".")] == []

    def test_in_a_folder_that_is_a_file(self, run: Path) -> None:
        Path("taken").write_text("")
        assert "taken" in winnow_error("export", run, "-o", "taken/model.onnx")


def test_pictures_that_changed_since_are_left_out(run: Path, hues: Path) -> None:
    rows = read_predictions(run, "test")
    paint(hues / rows[0]["path"], (0, 0, 0), 999)
    (hues / rows[1]["path"]).write_bytes(b"")
    done = winnow("export", run, "-o", "model.onnx")
    assert f"note: 2 of {len(rows)} test pictures are gone or changed since" in done.stderr
    assert load(Path("model.onnx")).metadata["parity"]["pictures"] == len(rows) - 2


@pytest.mark.slow
def test_a_card_that_a_person_changed_is_kept(run: Path) -> None:
    winnow_json("export", run, "-o", "model.onnx")
    first = Path("model.md").read_text()
    assert winnow_json("export", run, "-o", "model.onnx")["card"] == "model.md"
    Path("model.md").write_text(first.replace("license: other", "license: mit"))
    assert winnow_json("export", run, "-o", "model.onnx")["card"] == "model.new.md"
    assert "license: mit" in Path("model.md").read_text()
    assert "license: other" in Path("model.new.md").read_text()


def test_a_run_elsewhere_needs_its_workspace_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_IMAGES", "/nowhere")  # the run says which pictures
    copied = shutil.copytree(run, "elsewhere")
    assert "is not a workspace" in winnow_error("export", copied, "-o", "model.onnx")
    winnow_json("export", copied, "-o", "model.onnx", "--workspace", run.parents[1])
    assert Path("model.onnx").is_file()


@pytest.mark.slow
def test_labels_are_any_text(tmp_path: Path, colours: Path) -> None:
    for index, (label, hue) in enumerate([("=1+1", (220, 60, 50)), ("<b>花</b>", (60, 200, 70))]):
        for number in range(12):
            paint(tmp_path / "odd" / label.replace("/", "") / f"{number}.jpg", hue, 50 * index + number)
    run = winnow_json("train", tmp_path / "odd", "--backbone", colours, "--head", "centroid")["run"]
    winnow_json("export", run, "-o", "model.onnx")
    assert load(Path("model.onnx")).labels == ["<b>花<b>", "=1+1"]
    assert "<b>" not in Path("model.md").read_text().replace("`<b>", "")
