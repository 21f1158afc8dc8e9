from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from winnow.deploy.onnx.head import check_parity, to_onnx
from winnow.heads.evaluation.fit import HeadSpec, Split, Task, fit_estimator

KINDS = ["dummy", "centroid", "knn", "logistic", "svm-linear", "svm-rbf", "lda", "forest", "mlp", "supcon"]
METHODS = ["none", "sigmoid", "isotonic", "temperature"]
PARAMS = {"forest": {"n_estimators": 10}, "mlp": {"hidden_layer_sizes": (8,), "max_iter": 30}}
PARAMS |= {"supcon": {"hidden": (), "dim": 4, "epochs": 5}}


def fitted(kind, method, n_classes=3, d=12):
    """A head on class indexes, and 60 vectors that it was not fitted on."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % n_classes
    X = (np.eye(d)[y] + rng.normal(scale=0.4, size=(90, d))).astype(np.float32)
    task, rows = Task(X, y, list(map(str, range(n_classes)))), np.arange(90)
    head = HeadSpec(kind, kind, PARAMS.get(kind, {}) | {"calibration": method})
    return fit_estimator(head, task, Split(rows, rows, rows, rows)), rng.normal(size=(60, d)).astype(np.float32)


CASES = [(kind, method) for kind in KINDS for method in METHODS if (kind[:3], method) != ("svm", "none")]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("kind", "method"), CASES)
def test_the_graph_predicts_what_the_calibrated_head_predicts(kind, method, n_classes):
    estimator, X = fitted(kind, method, n_classes)
    model = to_onnx(estimator, ["daisy", "été", "花"][:n_classes], 12)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    _, proba = session.run(["label", "probabilities"], {"embedding": X})
    np.testing.assert_allclose(proba, estimator.predict_proba(X), atol=1e-5)
    assert check_parity(model, estimator, X) < 1e-5
    used = {name for node in model.graph.node for name in node.input}
    assert {constant.name for constant in model.graph.initializer} <= used
    assert session.run(["label"], {"embedding": X[:0]})[0].shape == (0,)
