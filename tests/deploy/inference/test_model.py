"""A model file is checked before it is run; what is wrong with any other file is stated in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.models import SIZE, make_metadata, make_proto, write_model
from support.pictures import HUES
from support.project import PROJECT

from winnow.commands.remedies import with_remedy
from winnow.common.errors import InputError
from winnow.deploy.inference.model import load
from winnow.embed.recipe import Recipe

UNUSUAL_LABELS = ["a/b", "..", "花", "=1+1", "<b>bold</b>", "two\nlines", ""]


def refusal(file: Path) -> str:
    """The one-line error with its remedy, without the file's name that it begins with."""
    with pytest.raises(InputError) as caught:
        load(file).session()
    message = with_remedy(caught.value)
    assert message.startswith(str(file))
    assert message.isprintable()
    assert len(message) < len(str(file)) + 300
    return message.removeprefix(str(file)).strip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def rewrite(file: Path, name: str, value: object) -> None:
    """Write a model with one change in its metadata: a text, a value to encode as JSON, or None to remove the key."""
    model = make_proto()
    metadata = {entry.key: entry.value for entry in model.metadata_props} | {name: value}
    del model.metadata_props[:]
    for key, text in metadata.items():
        if text is not None:
            model.metadata_props.add(key=key, value=text if isinstance(text, str) else json.dumps(text))
    file.write_bytes(model.SerializeToString())


def plain(hue: tuple[int, int, int], count: int = 1) -> np.ndarray:
    return np.full((count, SIZE, SIZE, 3), hue, dtype=np.uint8)


class TestAModel:
    def test_is_loaded_with_its_metadata(self, file: Path) -> None:
        model = load(write_model(file))
        assert model.file == file
        assert model.labels == ["blue", "green", "red"]
        assert model.recipe == Recipe(size=96)
        assert (model.any_size, model.threshold) == (False, 0.05)
        assert model.metadata["metrics"]["weighted_f1"]["mean"] == 0.91
        assert model.metadata["precision"] == "fp32"
        assert "content" not in repr(model)

    def test_gives_label_probabilities_and_familiarity(self, file: Path) -> None:
        label, probabilities, familiarity = load(write_model(file)).session()(plain(HUES["green"], 5))
        assert label.tolist() == ["green"] * 5
        assert (probabilities.shape, probabilities.dtype) == ((5, 3), np.float32)
        assert abs(probabilities.sum(axis=1) - 1).max() < 1e-6
        assert (familiarity.shape, familiarity.dtype) == ((5,), np.float32)
        assert familiarity[0] == pytest.approx(1, abs=1e-6)

    def test_of_any_size_takes_one_picture_of_any_size(self, file: Path) -> None:
        model = load(write_model(file, any_size=True))
        assert model.any_size
        label, probabilities, _ = model.session()(np.full((1, 7, 300, 3), HUES["red"], dtype=np.uint8))
        assert (label.tolist(), probabilities.shape) == (["red"], (1, 3))

    def test_may_have_labels_of_any_text(self, file: Path) -> None:
        model = load(write_model(file, labels=UNUSUAL_LABELS))
        assert model.labels == UNUSUAL_LABELS
        assert model.session()(plain(HUES["blue"]))[0].tolist() == [UNUSUAL_LABELS[0]]

    def test_may_have_one_class(self, file: Path) -> None:
        assert load(write_model(file, labels=["all"])).session()(plain((9, 9, 9)))[1].tolist() == [[1.0]]

    def test_runs_the_bytes_that_were_checked_when_the_file_changes(self, file: Path) -> None:
        model = load(write_model(file))
        file.write_bytes(b"something else")
        assert model.session()(plain(HUES["blue"]))[0].tolist() == ["blue"]

    def test_needs_no_network_library(self, file: Path) -> None:
        code = (
            "import sys\nfrom pathlib import Path\nfrom winnow.deploy.inference.model import load\n"
            f"load(Path({str(write_model(file))!r})).session()\n"
            "print([name for name in ('tensorflow', 'keras', 'sklearn', 'matplotlib', 'scipy') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"


class TestNoModelFile:
    def test_is_not_there(self, file: Path) -> None:
        assert refusal(file) == ": no such file: name a FILE.onnx that `winnow export RUN` wrote"

    def test_is_a_folder(self, tmp_path: Path) -> None:
        assert refusal(tmp_path) == "is a folder, not a model: name a FILE.onnx that `winnow export RUN` wrote"

    def test_is_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert refusal(tmp_path / "pipe").startswith("is no regular file below 2 GiB")

    def test_is_too_large(self, file: Path) -> None:
        with file.open("wb") as stream:
            stream.truncate(2**31 + 1)
        assert refusal(file).startswith("is no regular file below 2 GiB")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_may_not_be_read(self, file: Path) -> None:
        write_model(file).chmod(0)
        assert refusal(file).startswith(": Permission denied")


class TestForeignBytes:
    def test_of_an_empty_file(self, file: Path) -> None:
        file.touch()
        assert refusal(file) == "is empty: copy it again, or write it again with `winnow export RUN`"

    @pytest.mark.parametrize(
        "content", [b"hello", b"\xff\xd8\xff\xe0 a photograph", b"\0" * 99, b"<html>" * 99, b"\x08\x08"]
    )
    def test_of_another_kind(self, file: Path, content: bytes) -> None:
        file.write_bytes(content)
        assert refusal(file).startswith("is no ONNX file, ")

    @pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
    def test_cut_off(self, file: Path, share: float) -> None:
        content = make_proto().SerializeToString()
        file.write_bytes(content[: int(share * len(content))])
        assert "cut off" in refusal(file) or "metadata" in refusal(file)

    def test_with_a_byte_changed_anywhere_never_end_in_a_traceback(self, file: Path) -> None:
        content = make_proto().SerializeToString()
        rng, refused = np.random.default_rng(0), 0
        for position in rng.integers(0, len(content), 300):
            file.write_bytes(
                content[:position] + bytes([content[position] ^ int(rng.integers(1, 256))]) + content[position + 1 :]
            )
            try:
                load(file).session()
            except InputError as error:
                refused += "\n" not in str(error)
        assert refused > 30

    def test_of_an_exported_backbone(self, colours: Path) -> None:
        assert refusal(colours) == "is only a backbone, without a head: `winnow export RUN` writes a model of both"

    def test_of_a_head(self, file: Path) -> None:
        from winnow.deploy.onnx.head import save_head
        from winnow.heads.evaluation.fit import HeadSpec
        from winnow.heads.models.baselines import BASELINES

        X = np.eye(4, dtype=np.float32)
        save_head(file, BASELINES["logistic"](0).fit(X, [0, 1, 0, 1]), HeadSpec("a", "logistic", {}), ["a", "b"], X)
        assert refusal(file) == "is only a head, without the backbone: `winnow export RUN` writes a model of both"

    def test_of_a_model_of_another_program(self, file: Path) -> None:
        model = make_proto()
        del model.metadata_props[:]
        onnx.save(model, file)
        assert refusal(file) == "is not a model that Winnow exported: `winnow export RUN` writes a model of both"

    def test_of_a_newer_winnow(self, file: Path) -> None:
        write_model(file, winnow_model="2")
        assert refusal(file) == "was written by a newer Winnow (format 2): update Winnow"


class TestMetadata:
    @pytest.mark.parametrize(
        "name", ["labels", "recipe", "params", "familiarity", "metrics", "training", "parity", "trained_on"]
    )
    def test_that_is_missing_or_no_json_or_of_another_type(self, file: Path, name: str) -> None:
        rewrite(file, name, None)
        assert refusal(file).startswith(f"has no readable {name!r} in its metadata")
        rewrite(file, name, "[1, 2")
        assert refusal(file).startswith(f"has no readable {name!r} in its metadata")
        rewrite(file, name, "[" * 100_000)
        assert refusal(file).startswith(f"has no readable {name!r} in its metadata")
        rewrite(file, name, 7)
        assert refusal(file).startswith(f"has a {name!r} in its metadata that is no ")

    @pytest.mark.parametrize("name", ["winnow", "preprocessing", "backbone", "weights", "precision", "tta", "kind"])
    def test_without_a_text(self, file: Path, name: str) -> None:
        rewrite(file, name, None)
        assert refusal(file).startswith(f"has no {name!r} in its metadata: copy it again")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("labels", []),
            ("labels", [1, 2, 3]),
            ("labels", ["a", "a", "b"]),
            ("trained_on", [1]),
            ("input", "circle"),
            ("input", None),
            ("familiarity_threshold", None),
            ("familiarity_threshold", "much"),
            ("familiarity_threshold", "nan"),
            ("familiarity_threshold", "1.5"),
            ("recipe", {}),
            ("recipe", {"size": "96"}),
            ("recipe", {"size": 96, "shell": "rm"}),
            ("recipe", {"scale": []}),
            ("recipe", {"weights": 3}),
        ],
    )
    def test_with_invalid_values(self, file: Path, name: str, value: object) -> None:
        rewrite(file, name, value)
        if value == {}:
            assert "[batch, 224, 224, 3] is expected" in refusal(file)
        else:
            assert refusal(file).startswith(f"has an invalid {name!r} in its metadata: copy it again")

    @pytest.mark.parametrize(("old", "new"), [("one", "none"), ("mirror", "flip"), ("mean", "mean")])
    def test_of_version_0_1_0_gets_todays_names(self, file: Path, old: str, new: str) -> None:
        metrics = make_metadata(["blue", "green", "red"], any_size=False)["metrics"] | {"test_views": old}
        write_model(file, tta=None, test_views=old, metrics=metrics)
        metadata = load(file).metadata
        assert (metadata["tta"], metadata["metrics"]["tta"]) == (new, new)
        assert "test_views" not in metadata
        assert "test_views" not in metadata["metrics"]

    @pytest.mark.parametrize(
        "labels", [["blue", "green"], ["green", "blue", "red"], ["a", "b", "c"], ["a", "b", "c", "d"]]
    )
    def test_of_other_labels_than_the_graph(self, file: Path, labels: list[str]) -> None:
        rewrite(file, "labels", labels)
        expected = "has other labels in its graph" if len(labels) == 3 else "has probabilities float [batch, 3] where"
        assert refusal(file).startswith(expected)


class TestGraph:
    def test_of_other_inputs(self, file: Path) -> None:
        model = make_proto()
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
        onnx.save(model, file)
        assert refusal(file).startswith(
            "has image float [batch, 96, 96, 3] where image uint8 [batch, 96, 96, 3] is expected: copy it again"
        )
        model = make_proto()
        model.graph.input[0].name = "pixels"
        onnx.save(model, file)
        assert refusal(file).startswith("has pixels uint8 [batch, 96, 96, 3] where image uint8")
        model = make_proto()
        del model.graph.input[0].type.tensor_type.shape.dim[0]
        onnx.save(model, file)
        assert refusal(file).startswith("has image uint8 [96, 96, 3] where")
        model = make_proto()
        model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
        onnx.save(model, file)
        assert refusal(file).startswith(
            "has other inputs and outputs (image, more, label, probabilities, embedding, fam"
        )

    def test_of_other_outputs(self, file: Path) -> None:
        model = make_proto()
        del model.graph.output[3]
        onnx.save(model, file)
        assert refusal(file).startswith("has other inputs and outputs (image, label, probabilities, embedding) than")
        model = make_proto()
        outputs = list(model.graph.output)
        del model.graph.output[:]
        model.graph.output.extend(outputs[::-1])
        onnx.save(model, file)
        assert refusal(file).startswith("has familiarity float [batch] where label string [batch] is expected")
        model = make_proto()
        model.graph.output[3].type.tensor_type.elem_type = TensorProto.DOUBLE
        onnx.save(model, file)
        assert refusal(file).startswith("has familiarity double [batch] where")

    def test_of_a_batch_that_is_fixed(self, file: Path) -> None:
        for number, end in ((0, "image uint8 [1, 96, 96, 3]"), (2, "probabilities float [1, 3]")):
            model = make_proto()
            value = [*model.graph.input, *model.graph.output][number]
            value.type.tensor_type.shape.dim[0].dim_value = 1
            file.write_bytes(model.SerializeToString())
            assert refusal(file).startswith(f"has {end} where ")
        model = make_proto(any_size=True)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 300
        file.write_bytes(model.SerializeToString())
        assert refusal(file).startswith("has image uint8 [300, width, 3] where image uint8 [height, width, 3] is")

    def test_whose_rows_are_not_those_of_the_pictures(self, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
        mean = helper.make_node("ReduceMean", ["raw"], ["familiarity"], axes=[0], keepdims=1)
        reshape = helper.make_node("Reshape", ["raw", "shape"], ["familiarity"])
        expected = {"returns outputs that do not fit its metadata": mean, "cannot be run (": reshape}
        for message, node in expected.items():
            model = make_proto()
            model.graph.node[-1].output[0] = "raw"
            model.graph.node.append(node)
            model.graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [1], [1]))
            file.write_bytes(model.SerializeToString())
            assert refusal(file).startswith(message)
        assert capfd.readouterr() == ("", "")

    def test_that_fails_only_later(self, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
        model = make_proto()
        model.graph.node[-1].output[0] = "raw"
        model.graph.node.append(helper.make_node("Add", ["raw", "two"], ["familiarity"]))
        model.graph.initializer.append(helper.make_tensor("two", TensorProto.FLOAT, [2], [0.0, 0.0]))
        file.write_bytes(model.SerializeToString())
        session = load(file).session()
        assert session(plain(HUES["red"], 2))[0].tolist() == ["red", "red"]
        for pictures, message in ((1, "returns outputs that do not fit its metadata"), (3, r"cannot be run \(")):
            with pytest.raises(InputError, match=message):
                session(plain(HUES["red"], pictures))
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("kind", ["Loop", "Scan"])
    def test_that_may_never_end(self, file: Path, kind: str) -> None:
        model = make_proto()
        model.graph.node.append(helper.make_node(kind, ["one"], ["more"]))
        file.write_bytes(model.SerializeToString())
        assert refusal(file).startswith(f"has a {kind}, which may never end")

    def test_that_keeps_its_numbers_elsewhere(self, file: Path) -> None:
        for location in ("/etc/passwd", "../weights.bin", "weights.bin"):
            model = make_proto()
            tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "centres")
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=location)
            file.write_bytes(model.SerializeToString())
            assert refusal(file).startswith(
                "keeps numbers in other files (external data), which no exported model does"
            )

    def test_that_keeps_numbers_of_an_attribute_or_a_subgraph_elsewhere(self, file: Path) -> None:
        outside = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
        outside.ClearField("float_data")
        outside.data_location = TensorProto.EXTERNAL
        outside.external_data.add(key="location", value="/etc/passwd")
        constant = helper.make_node("Constant", [], ["outside"], value=outside)
        inner = helper.make_graph([constant], "inner", [], [helper.make_tensor_value_info("outside", 1, [1])])
        branch = helper.make_node("If", ["truth"], ["inside"], then_branch=inner, else_branch=inner)
        for node in (constant, branch):
            model = make_proto()
            model.graph.node.append(node)
            file.write_bytes(model.SerializeToString())
            assert refusal(file).startswith("keeps numbers in other files")

    def test_that_needs_operators_of_others(self, file: Path) -> None:
        model = make_proto()
        model.graph.node[0].domain = "com.evil"
        model.opset_import.append(helper.make_opsetid("com.evil", 1))
        onnx.save(model, file)
        assert refusal(file).startswith("needs com.evil.Identity, which is no operator of ONNX")

    def test_that_cannot_be_run(self, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
        model = make_proto()
        model.graph.node[3].input[0] = "nothing"
        file.write_bytes(model.SerializeToString())
        assert refusal(file).startswith("cannot be run (")
        model = make_proto()
        model.opset_import[0].version = 99
        file.write_bytes(model.SerializeToString())
        assert refusal(file).startswith("cannot be run (")
        assert capfd.readouterr() == ("", "")

    def test_whose_labels_are_not_the_most_probable(self, file: Path) -> None:
        model = make_proto()
        argmax = next(node for node in model.graph.node if node.op_type == "ArgMax")
        argmax.op_type = "ArgMin"
        file.write_bytes(model.SerializeToString())
        assert refusal(file).startswith("returns outputs that do not fit its metadata")
