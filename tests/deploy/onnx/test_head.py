from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from winnow.common.errors import InputError
from winnow.deploy.onnx.head import check_parity, labels, save_head, to_onnx
from winnow.heads.evaluation.fit import HeadSpec, Split, Task, fit_estimator
from winnow.heads.kinds import HEADS
from winnow.heads.models.baselines import BASELINES

CLASSES = ["daisy", "été", "花"]
MANY = [f"classe n° {c}" for c in range(12)]
PARAMS = {"dense": {"hidden": (8,), "epochs": 3}, "forest": {"n_estimators": 10}}
PARAMS |= dict.fromkeys(("triplet", "supcon"), {"dim": 4, "epochs": 5})


def fitted(kind, n_classes=3, d=12, **params):
    """A head on class indexes, and 60 vectors that it was not fitted on."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % n_classes
    X = (np.eye(d)[y] + rng.normal(scale=0.3, size=(60, d))).astype(np.float32)
    task, rows = Task(X, y, list(map(str, range(n_classes)))), np.arange(60)
    head = HeadSpec(kind, kind, PARAMS.get(kind, {}) | params)
    return fit_estimator(head, task, Split(rows, rows, rows, rows)), rng.normal(size=(60, d)).astype(np.float32)


def run(model, X):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["label", "probabilities"], {"embedding": X})


def shape(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


# (A fine-tuned head takes maps: see tests/heads/models/test_finetune.py.)
slow_dense = [
    pytest.param(kind, marks=pytest.mark.slow) if kind == "dense" else kind for kind in HEADS if kind != "finetune"
]


@pytest.mark.parametrize("n_classes", [2, 3, 12])
@pytest.mark.parametrize("kind", slow_dense)
def test_the_graph_predicts_what_the_head_predicts(kind, n_classes):
    estimator, X = fitted(kind, n_classes)
    classes = MANY if n_classes == 12 else CLASSES[-n_classes:]
    model = to_onnx(estimator, classes, 12)
    predicted, proba = run(model, X)
    expected = estimator.predict_proba(X)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba, expected, atol=1e-5)
    assert predicted.tolist() == [classes[c] for c in expected.argmax(axis=1)]
    assert check_parity(model, estimator, X) == pytest.approx(np.abs(proba - expected).max())


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("kind", "method"),
    [("svm-linear", "sigmoid"), ("svm-rbf", "temperature"), ("lda", "isotonic"), ("forest", "temperature")],
)
def test_a_weighted_calibration_is_exported_too(kind, method, n_classes):
    estimator, X = fitted(kind, n_classes, class_weight="balanced", calibration=method)
    model = to_onnx(estimator, CLASSES[:n_classes], 12)
    np.testing.assert_allclose(run(model, X)[1], estimator.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("kind", slow_dense)
def test_the_form_of_the_file(kind):
    estimator, _ = fitted(kind)
    model = to_onnx(estimator, CLASSES, 12)
    onnx.checker.check_model(model, full_check=True)
    (source,), (label, proba) = model.graph.input, model.graph.output
    assert (source.name, shape(source)) == ("embedding", ["batch", 12])
    assert (label.name, shape(label)) == ("label", ["batch"])
    assert label.type.tensor_type.elem_type == onnx.TensorProto.STRING
    assert (proba.name, shape(proba)) == ("probabilities", ["batch", 3])
    assert proba.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    opsets = [(opset.domain, opset.version) for opset in model.opset_import]
    assert opsets[0] == ("", 17)
    assert opsets[1:] in ([], [("ai.onnx.ml", 3)])
    assert {node.domain for node in model.graph.node} <= {domain for domain, _ in opsets}
    assert not any(tensor.HasField("data_location") for tensor in model.graph.initializer)
    assert labels(model) == CLASSES


@pytest.mark.parametrize("kind", ["dummy", "centroid", "knn", "logistic", "mlp"])
@pytest.mark.parametrize("n", [0, 1, 7])
def test_any_number_of_vectors(kind, n):
    estimator, X = fitted(kind)
    predicted, proba = run(to_onnx(estimator, CLASSES, 12), X[:n])
    assert predicted.shape == (n,)
    assert proba.shape == (n, 3)


@pytest.mark.parametrize("kind", ["centroid", "logistic"])
def test_a_class_without_training_vectors_has_probability_zero(kind):
    estimator, X = fitted(kind, n_classes=2)
    classes = ["a", "b", "c", "d"]
    predicted, proba = run(to_onnx(estimator, classes, 12), X)
    assert (proba[:, 2:] == 0).all()
    assert set(predicted) == {"a", "b"}
    assert check_parity(to_onnx(estimator, classes, 12), estimator, X) < 1e-5


def test_a_head_fitted_on_the_names_themselves():
    X = np.eye(3, dtype=np.float32)
    estimator = BASELINES["centroid"]().fit(X, np.array(["rose", "aster", "tulip"]))
    predicted, proba = run(to_onnx(estimator, ["tulip", "rose", "aster"], 3), X)
    assert predicted.tolist() == ["rose", "aster", "tulip"]
    assert proba.argmax(axis=1).tolist() == [1, 2, 0]


@pytest.mark.parametrize("kind", ["centroid", "knn"])
def test_a_vector_of_zeros_gives_numbers(kind):
    estimator, _ = fitted(kind)
    model = to_onnx(estimator, CLASSES, 12)
    assert check_parity(model, estimator, np.zeros((2, 12))) < 1e-6


def test_another_head_is_refused():
    estimator, X = fitted("centroid")
    model = to_onnx(estimator, CLASSES, 12)
    estimator.means_ = estimator.means_[::-1]
    with pytest.raises(InputError, match="differs from NearestMean by .* in a probability, more than 0.0001"):
        check_parity(model, estimator, X)


def test_another_label_is_refused():
    estimator, X = fitted("centroid")
    model = to_onnx(estimator, CLASSES, 12)
    (names,) = (tensor for tensor in model.graph.initializer if tensor.name == "labels")
    names.string_data[:] = [name.encode() for name in reversed(CLASSES)]
    with pytest.raises(InputError, match=r"gives \d+ of 60 pictures another label: not kept"):
        check_parity(model, estimator, X)


def test_probabilities_that_are_not_finite_are_refused():
    estimator, X = fitted("centroid")
    model = to_onnx(estimator, CLASSES, 12)
    estimator.predict_proba = lambda X: np.full((len(X), 3), np.nan)
    with pytest.raises(InputError, match="by nan"):
        check_parity(model, estimator, X)


@pytest.mark.parametrize("hidden", [(), (6,)])
@pytest.mark.parametrize("then", ["knn", "linear"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_metric_head_is_its_projection_and_the_classifier_on_it(then, hidden, n_classes):
    estimator, X = fitted("supcon", n_classes, then=then, hidden=hidden)
    model = to_onnx(estimator, CLASSES[:n_classes], 12)
    np.testing.assert_allclose(run(model, X)[1], estimator.predict_proba(X), atol=1e-6)
    assert check_parity(model, estimator, np.zeros((2, 12))) < 1e-6


class TestSaveHead:
    def test_writes_one_file_with_metadata(self, tmp_path):
        estimator, X = fitted("knn")
        file = tmp_path / "head.onnx"
        head = HeadSpec("mine", "knn", {"n_neighbors": 20})
        parity = save_head(file, estimator, head, CLASSES, X, extra={"backbone": "ab12"})
        assert parity < 1e-6
        assert [path.name for path in tmp_path.iterdir()] == ["head.onnx"]
        model = onnx.load(file)
        onnx.checker.check_model(model, full_check=True)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(metadata["labels"]) == CLASSES
        assert "花" in metadata["labels"]
        assert json.loads(metadata["params"]) == {"n_neighbors": 20}
        assert (metadata["kind"], metadata["backbone"]) == ("knn", "ab12")
        assert set(metadata) == {"labels", "kind", "params", "winnow", "parity", "backbone"}

    def test_writes_nothing_when_parity_fails(self, tmp_path):
        estimator, X = fitted("centroid")
        estimator.predict_proba = lambda X: np.full((len(X), 3), 1 / 3)
        with pytest.raises(InputError, match="not kept"):
            save_head(tmp_path / "head.onnx", estimator, HeadSpec("c", "centroid"), CLASSES, X)
        assert list(tmp_path.iterdir()) == []

    def test_reports_a_file_that_cannot_be_written_and_leaves_nothing(self, tmp_path):
        estimator, X = fitted("centroid")
        file = tmp_path / "head.onnx"
        file.mkdir()  # no file can be moved over a folder
        with pytest.raises(InputError, match="head.onnx: Is a directory"):
            save_head(file, estimator, HeadSpec("c", "centroid"), CLASSES, X)
        assert list(tmp_path.iterdir()) == [file]


def test_among_equal_neighbours_the_graph_takes_the_same_as_the_head():
    X = np.tile(np.eye(3, dtype=np.float32), (10, 1))
    y = np.arange(30) // 10  # ten equal vectors in each direction, of two or three classes
    estimator = BASELINES["knn"](n_neighbors=7).fit(X, y)
    model = to_onnx(estimator, CLASSES, 3)
    assert check_parity(model, estimator, X) < 1e-6
