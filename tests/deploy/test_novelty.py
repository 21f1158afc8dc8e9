from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from winnow.common.errors import InputError
from winnow.deploy import novelty
from winnow.deploy.novelty import (
    ConformalCalibration,
    calibrate,
    conformal_p_value,
    fit_ood_model,
    ood_score,
    ood_score_nodes,
    p_value_nodes,
)


def blobs(n, classes=3, d=20, b=8, seed=0):
    """Vectors around one corner a class, as after a ReLU; the bottleneck is signed."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    pooled = np.maximum(np.eye(classes, d)[y] + rng.normal(scale=0.15, size=(n, d)), 0)
    bottleneck = np.eye(classes, b)[y] + rng.normal(scale=0.15, size=(n, b))
    return pooled.astype(np.float32), bottleneck.astype(np.float32), y


def load(nodes, constants, inputs, outputs):
    """An onnxruntime session of nodes and constants; inputs: name -> number of columns, 0 for a vector."""
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "graph",
        [tensor(name, 1, ["batch", columns] if columns else ["batch"]) for name, columns in inputs.items()],
        [tensor(name, 1, ["batch"]) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def onnx_scores(model, d, b, calibration=None):
    """The OOD score in ONNX, with a calibration also the p-value, as a function of pooled and bottleneck vectors."""
    nodes, constants, name = ood_score_nodes(model, "embedding", "bottleneck", "ood/")
    outputs = [name]
    if calibration is not None:
        more_nodes, more_constants = p_value_nodes(calibration, name, "familiarity", "calibration/")
        nodes, constants, outputs = nodes + more_nodes, constants + more_constants, [name, "familiarity"]
    session = load(nodes, constants, {"embedding": d, "bottleneck": b}, outputs)
    return lambda pooled, bottleneck: session.run(None, {"embedding": pooled, "bottleneck": bottleneck})


def onnx_p_values(calibration, scores):
    session = load(*p_value_nodes(calibration, "s", "out", "c/"), {"s": 0}, ["out"])
    return session.run(None, {"s": scores.astype(np.float32)})[0]


def test_scores_are_near_zero_on_training_vectors_and_above_one_far_from_all():
    pooled, bottleneck, y = blobs(90)
    model = fit_ood_model(pooled, bottleneck, y)
    assert np.median(ood_score(model, pooled, bottleneck)) == pytest.approx(0, abs=0.1)
    far = -np.eye(2, 20, 10, dtype=np.float32), -np.eye(2, 8, 5, dtype=np.float32)
    assert (ood_score(model, *far) > 1).all()


def test_a_class_left_out_and_a_vector_between_two_classes_get_high_scores():
    pooled, bottleneck, y = blobs(160, classes=4)
    model = fit_ood_model(pooled[y < 3], bottleneck[y < 3], y[y < 3])
    new_pooled, new_bottleneck, new = blobs(160, classes=4, seed=1)
    s = ood_score(model, new_pooled, new_bottleneck)
    assert s[new == 3].min() > np.quantile(s[new < 3], 0.99)
    between = (pooled[y == 0][:20] + pooled[y == 1][:20]) / 2, (bottleneck[y == 0][:20] + bottleneck[y == 1][:20]) / 2
    assert ood_score(model, *between).mean() > s[new < 3].mean() + 0.1


def test_lengths_and_order_do_not_matter():
    pooled, bottleneck, y = blobs(60)
    queries = blobs(9, seed=1)[:2]
    expected = ood_score(fit_ood_model(pooled, bottleneck, y), *queries)
    longer = ood_score(fit_ood_model(5 * pooled, 3 * bottleneck, y), 2 * queries[0], 7 * queries[1])
    np.testing.assert_allclose(longer, expected, atol=1e-3)
    other = np.random.default_rng(1).permutation(60)
    shuffled = fit_ood_model(pooled[other], bottleneck[other], y[other])
    np.testing.assert_allclose(ood_score(shuffled, *queries), expected, atol=1e-6)


def test_the_same_input_gives_the_same_model():
    pooled, bottleneck, y = blobs(60)
    one, two = fit_ood_model(pooled, bottleneck, y), fit_ood_model(pooled, bottleneck, y)
    np.testing.assert_array_equal(one.landmarks, two.landmarks)
    np.testing.assert_array_equal(one.weights, two.weights)
    assert one.width == two.width


CASES = {
    "one class": (blobs(20, classes=1), 1),
    "a class of one": ((*blobs(21)[:2], np.array([0] * 10 + [1] * 10 + [2])), 3),
    "four pictures": (blobs(4, classes=2), 2),
    "one picture": (blobs(1, classes=1), 1),
    "identical vectors": ((np.ones((6, 3), np.float32), np.ones((6, 2), np.float32), np.arange(6) % 2), 2),
    "zeros": ((np.zeros((6, 3), np.float32), np.zeros((6, 2), np.float32), np.arange(6) % 2), 2),
    "codes with gaps": ((*blobs(30)[:2], np.array([3, 7, 90] * 10)), 3),
    "many classes": (blobs(120, classes=40, d=50, b=40), 40),
    "three colours": (
        tuple(a.astype(np.float32) for a in np.split(np.random.default_rng(0).random((30, 5)), [3], axis=1))
        + (np.arange(30) % 3,),
        3,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_any_training_set_gives_finite_numbers_that_onnx_repeats(name):
    (pooled, bottleneck, y), classes = CASES[name]
    model = fit_ood_model(pooled, bottleneck, y)
    assert model.weights.shape == (len(y), classes)
    rng = np.random.default_rng(2)
    d, b = pooled.shape[1], bottleneck.shape[1]
    queries = [
        np.vstack([part, rng.random((5, width)), np.zeros((1, width))]).astype(np.float32)
        for part, width in ((pooled, d), (bottleneck, b))
    ]
    expected = ood_score(model, *queries)
    assert np.isfinite(expected).all()
    calibration = calibrate(expected[len(y) :])
    run = onnx_scores(model, d, b, calibration)
    s, p_values = run(*queries)
    np.testing.assert_allclose(s, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(p_values, conformal_p_value(calibration, s), atol=1e-6)
    single = np.concatenate([run(queries[0][i : i + 1], queries[1][i : i + 1])[0] for i in range(len(s))])
    np.testing.assert_allclose(single, s, rtol=1e-4, atol=1e-5)
    assert run(queries[0][:0], queries[1][:0])[0].shape == (0,)


def test_names_inside_never_clash_with_those_outside():
    pooled, bottleneck, y = blobs(12)
    model = fit_ood_model(pooled, bottleneck, y)
    for pooled_name, bottleneck_name in (("x", "product"), ("pooled", "bottleneck"), ("bottleneck", "pooled")):
        nodes, constants, name = ood_score_nodes(model, pooled_name, bottleneck_name, "p/")
        assert {i for node in nodes for i in node.input if not i.startswith("p/")} == {pooled_name, bottleneck_name}
        assert all(inner.startswith("p/") for inner in [name, *(tensor.name for tensor in constants)])
    more, _ = p_value_nodes(calibrate(np.arange(3.0)), name, "familiarity", "p/")
    outputs = [output for node in [*nodes, *more] for output in node.output]
    assert len(outputs) == len(set(outputs))
    assert outputs[-1] == "familiarity"


def test_landmarks_of_many_vectors_are_limited_and_cover_every_class(monkeypatch):
    monkeypatch.setattr(novelty, "LANDMARKS", 30)
    monkeypatch.setattr(novelty, "MAX_FITTED", 200)
    pooled, bottleneck, _ = blobs(1000, classes=2)
    y = np.arange(1000) % 2
    y[:5] = 2  # five pictures of a class of its own
    pooled[:5], bottleneck[:5] = np.eye(20)[9], np.eye(8)[7]
    model = fit_ood_model(pooled, bottleneck, y)
    assert model.landmarks.shape == (30, 28)
    assert model.landmarks.dtype == np.float16
    assert (model.landmarks[:, 9] > 0.9).sum() == 5
    held_out = blobs(100, classes=2, seed=1)[:2]
    assert np.median(ood_score(model, *held_out)) < 0.2
    assert ood_score(model, np.eye(20)[9:10], np.eye(8)[7:8])[0] < 0.2
    assert ood_score(model, np.eye(20)[12:13], np.eye(8)[4:5])[0] > 0.9


@pytest.mark.slow
def test_it_takes_at_most_four_megabytes_in_a_file():
    rng = np.random.default_rng(0)
    x = rng.random((1100, 1280), dtype=np.float32), rng.normal(size=(1100, 320)).astype(np.float32)
    nodes, constants, _ = ood_score_nodes(fit_ood_model(*x, np.arange(1100) % 20), "a", "b", "")
    assert sum(len(part.SerializeToString()) for part in [*nodes, *constants]) < 4e6


def test_no_picture_is_an_error():
    with pytest.raises(InputError, match="at least one training picture"):
        fit_ood_model(np.empty((0, 3)), np.empty((0, 2)), np.empty(0, dtype=np.int64))
    with pytest.raises(InputError, match="calibrated on"):
        calibrate(np.empty(0))


def test_the_p_value_of_a_held_out_score_is_the_share_with_a_score_as_high():
    calibration = calibrate(np.array([0.4, 0.1, 0.3, 0.2]))
    np.testing.assert_allclose(conformal_p_value(calibration, np.array([0.1, 0.2, 0.3, 0.4])), [0.8, 0.6, 0.4, 0.2])
    np.testing.assert_allclose(conformal_p_value(calibration, np.array([0.15, 0.35])), [0.7, 0.3])
    tied = calibrate(np.array([0.1, 0.1, 0.1, 0.4]))
    np.testing.assert_allclose(conformal_p_value(tied, np.array([0.1, 0.4])), [0.8, 0.2])


@pytest.mark.parametrize("held_out", [[0.3], [0.3, 0.3], [0.0], [0.1, 0.2, 0.5], list(np.linspace(0, 1, 5000) ** 2)])
def test_p_values_fall_strictly_from_one_to_zero(held_out):
    calibration = calibrate(np.array(held_out))
    span = max(np.ptp(held_out), 1e-3)
    s = np.sort(np.concatenate([np.linspace(min(held_out) - span, max(held_out) + 3 * span, 2001), [1e3, 1e4]]))
    f = conformal_p_value(calibration, s)
    assert (np.diff(f) < 0).all()
    assert f.max() < 1
    assert 0 < f.min() < 0.01
    assert len(calibration.knots) <= novelty.MAX_KNOTS + 1
    np.testing.assert_allclose(
        onnx_p_values(calibration, s), conformal_p_value(calibration, s.astype(np.float32)), atol=1e-6
    )


def test_a_share_t_of_pictures_like_the_held_out_ones_has_p_values_below_t():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        calibration = calibrate(rng.normal(size=150))
        shares.append([(conformal_p_value(calibration, rng.normal(size=150)) < t).mean() for t in (0.05, 0.2, 0.5)])
    np.testing.assert_allclose(np.mean(shares, axis=0), [0.05, 0.2, 0.5], atol=0.01)


def test_many_held_out_scores_are_thinned_except_the_highest():
    s = np.random.default_rng(0).normal(size=100_000)
    calibration = calibrate(s)
    assert isinstance(calibration, ConformalCalibration)
    assert len(calibration.knots) <= 1001
    np.testing.assert_array_equal(calibration.knots[-10:], np.sort(s)[-10:])
    for t in (0.001, 0.05, 0.5):
        assert (conformal_p_value(calibration, s) < t).mean() == pytest.approx(t, rel=0.02)


def parts(photographs, rows):
    return photographs.pooled[rows], photographs.bottleneck[rows]


@pytest.mark.slow
def test_on_photographs_a_class_left_out_is_detected_and_a_twentieth_of_the_known_ones_rejected(photographs):
    from sklearn.metrics import roc_auc_score

    left_out, shares = [], []
    for label in range(5):
        rows = np.random.default_rng(label).permutation(np.flatnonzero(photographs.labels != label))
        train, val, test = np.split(rows, [560, 680])
        model = fit_ood_model(*parts(photographs, train), photographs.labels[train])
        away = np.flatnonzero(photographs.labels == label)
        held_out, known, unknown = (ood_score(model, *parts(photographs, part)) for part in (val, test, away))
        left_out.append(roc_auc_score(np.repeat([0, 1], [len(test), 200]), np.concatenate([known, unknown])))
        shares.append((conformal_p_value(calibrate(held_out), known) < 0.05).mean())
    assert np.mean(left_out) > 0.78
    assert min(left_out) > 0.65
    assert np.mean(shares) == pytest.approx(0.05, abs=0.025)


@pytest.mark.slow
def test_drawn_rooms_streets_signs_and_charts_are_separated_from_photographs(photographs, imagenet, tmp_path):
    from sklearn.metrics import roc_auc_score

    from winnow.curate import manifest
    from winnow.curate.demo.drawings import SCENES, draw_picture
    from winnow.curate.workspace import find_workspace
    from winnow.embed.config import EmbeddingConfig
    from winnow.workflow.embedding import embed

    rng = np.random.default_rng(0)
    (tmp_path / "drawn" / "scenes").mkdir(parents=True)
    for number in range(40):
        image = draw_picture(list(SCENES)[number % len(SCENES)], rng, None)
        image.save(tmp_path / "drawn" / "scenes" / f"{number}.jpg", quality=90)
    workspace = find_workspace(tmp_path / "drawn", tmp_path / "drawn.winnow")
    manifest.scan(workspace)
    store, _ = embed(workspace, EmbeddingConfig(), lambda done, total: None, lambda line: None)
    ids = manifest.read(workspace)["id"].to_pylist()
    drawn = store.read(ids), store.read(ids, "bottleneck")

    train, val, test = np.split(np.random.default_rng(0).permutation(1000), [700, 850])
    model = fit_ood_model(*parts(photographs, train), photographs.labels[train])
    known, unknown = ood_score(model, *parts(photographs, test)), ood_score(model, *drawn)
    assert roc_auc_score(np.repeat([0, 1], [150, 40]), np.concatenate([known, unknown])) > 0.97
    calibration = calibrate(ood_score(model, *parts(photographs, val)))
    assert (conformal_p_value(calibration, unknown) < 0.05).mean() > 0.8
    scores, p_values = onnx_scores(model, 1280, 320, calibration)(*drawn)
    np.testing.assert_allclose(scores, unknown, rtol=1e-4)
    np.testing.assert_allclose(p_values, conformal_p_value(calibration, unknown), atol=1e-4)
