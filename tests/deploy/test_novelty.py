from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from winnow.common.errors import InputError
from winnow.deploy import novelty as familiar
from winnow.deploy.novelty import Calibration, calibrate, calibration_nodes, familiarity, fit, nodes, strangeness


def blobs(n, classes=3, d=20, b=8, seed=0):
    """Vectors around one corner a class, as after a ReLU; the bottleneck is signed."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    pooled = np.maximum(np.eye(classes, d)[y] + rng.normal(scale=0.15, size=(n, d)), 0)
    bottleneck = np.eye(classes, b)[y] + rng.normal(scale=0.15, size=(n, b))
    return pooled.astype(np.float32), bottleneck.astype(np.float32), y


def session(reference, d, b, calibration=None):
    made, constants, name = nodes(reference, "embedding", "bottleneck", "familiar/")
    outputs = [name]
    if calibration is not None:
        more, numbers = calibration_nodes(calibration, name, "familiarity", "calibration/")
        made, constants, outputs = made + more, constants + numbers, [name, "familiarity"]
    tensor = helper.make_tensor_value_info
    inputs = [tensor("embedding", 1, ["batch", d]), tensor("bottleneck", 1, ["batch", b])]
    graph = helper.make_graph(made, "familiar", inputs, [tensor(output, 1, ["batch"]) for output in outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    made = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in inputs]
    return lambda *values: made.run(None, dict(zip(names, values, strict=True)))


def curve(calibration, s):
    made, constants = calibration_nodes(calibration, "s", "out", "c/")
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(made, "curve", [tensor("s", 1, ["batch"])], [tensor("out", 1, ["batch"])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    made = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return made.run(None, {"s": s.astype(np.float32)})[0]


def test_training_vectors_are_near_zero_and_what_is_like_nothing_above_one():
    pooled, bottleneck, y = blobs(90)
    reference = fit(pooled, bottleneck, y)
    assert np.median(strangeness(reference, pooled, bottleneck)) == pytest.approx(0, abs=0.1)
    far = -np.eye(2, 20, 10, dtype=np.float32), -np.eye(2, 8, 5, dtype=np.float32)
    assert (strangeness(reference, *far) > 1).all()


def test_a_class_left_out_and_a_vector_between_two_classes_are_strange():
    pooled, bottleneck, y = blobs(160, classes=4)
    reference = fit(pooled[y < 3], bottleneck[y < 3], y[y < 3])
    new_pooled, new_bottleneck, new = blobs(160, classes=4, seed=1)
    s = strangeness(reference, new_pooled, new_bottleneck)
    assert s[new == 3].min() > np.quantile(s[new < 3], 0.99)
    between = (pooled[y == 0][:20] + pooled[y == 1][:20]) / 2, (bottleneck[y == 0][:20] + bottleneck[y == 1][:20]) / 2
    assert strangeness(reference, *between).mean() > s[new < 3].mean() + 0.1


def test_lengths_and_order_do_not_matter():
    pooled, bottleneck, y = blobs(60)
    asked = blobs(9, seed=1)[:2]
    expected = strangeness(fit(pooled, bottleneck, y), *asked)
    longer = strangeness(fit(5 * pooled, 3 * bottleneck, y), 2 * asked[0], 7 * asked[1])
    np.testing.assert_allclose(longer, expected, atol=1e-3)
    other = np.random.default_rng(1).permutation(60)
    shuffled = fit(pooled[other], bottleneck[other], y[other])
    np.testing.assert_allclose(strangeness(shuffled, *asked), expected, atol=1e-6)


def test_the_same_input_gives_the_same_reference():
    pooled, bottleneck, y = blobs(60)
    one, two = fit(pooled, bottleneck, y), fit(pooled, bottleneck, y)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


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
    reference = fit(pooled, bottleneck, y)
    assert reference.weights.shape == (len(y), classes)
    rng = np.random.default_rng(2)
    d, b = pooled.shape[1], bottleneck.shape[1]
    asked = [
        np.vstack([part, rng.random((5, width)), np.zeros((1, width))]).astype(np.float32)
        for part, width in ((pooled, d), (bottleneck, b))
    ]
    expected = strangeness(reference, *asked)
    assert np.isfinite(expected).all()
    calibration = calibrate(expected[len(y) :])
    run = session(reference, d, b, calibration)
    s, share = run(*asked)
    np.testing.assert_allclose(s, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(share, familiarity(calibration, s), atol=1e-6)
    single = np.concatenate([run(asked[0][i : i + 1], asked[1][i : i + 1])[0] for i in range(len(s))])
    np.testing.assert_allclose(single, s, rtol=1e-4, atol=1e-5)
    assert run(asked[0][:0], asked[1][:0])[0].shape == (0,)


def test_names_inside_never_clash_with_those_outside():
    pooled, bottleneck, y = blobs(12)
    reference = fit(pooled, bottleneck, y)
    for pooled_name, bottleneck_name in (("x", "product"), ("pooled", "bottleneck"), ("bottleneck", "pooled")):
        made, constants, name = nodes(reference, pooled_name, bottleneck_name, "p/")
        assert {i for node in made for i in node.input if not i.startswith("p/")} == {pooled_name, bottleneck_name}
        assert all(made_name.startswith("p/") for made_name in [name, *(tensor.name for tensor in constants)])
    more, _ = calibration_nodes(calibrate(np.arange(3.0)), name, "familiarity", "p/")
    gives = [output for node in [*made, *more] for output in node.output]
    assert len(gives) == len(set(gives))
    assert gives[-1] == "familiarity"


def test_what_is_kept_of_many_vectors_is_bounded_and_has_every_class(monkeypatch):
    monkeypatch.setattr(familiar, "LANDMARKS", 30)
    monkeypatch.setattr(familiar, "FITTED", 200)
    pooled, bottleneck, _ = blobs(1000, classes=2)
    y = np.arange(1000) % 2
    y[:5] = 2  # five pictures of a class of its own
    pooled[:5], bottleneck[:5] = np.eye(20)[9], np.eye(8)[7]
    reference = fit(pooled, bottleneck, y)
    assert reference.landmarks.shape == (30, 28)
    assert reference.landmarks.dtype == np.float16
    assert (reference.landmarks[:, 9] > 0.9).sum() == 5
    held_out = blobs(100, classes=2, seed=1)[:2]
    assert np.median(strangeness(reference, *held_out)) < 0.2
    assert strangeness(reference, np.eye(20)[9:10], np.eye(8)[7:8])[0] < 0.2
    assert strangeness(reference, np.eye(20)[12:13], np.eye(8)[4:5])[0] > 0.9


@pytest.mark.slow
def test_a_file_holds_at_most_four_megabytes_of_it():
    rng = np.random.default_rng(0)
    x = rng.random((1100, 1280), dtype=np.float32), rng.normal(size=(1100, 320)).astype(np.float32)
    made, constants, _ = nodes(fit(*x, np.arange(1100) % 20), "a", "b", "")
    assert sum(len(part.SerializeToString()) for part in [*made, *constants]) < 4e6


def test_no_picture_is_an_error():
    with pytest.raises(InputError, match="at least one training picture"):
        fit(np.empty((0, 3)), np.empty((0, 2)), np.empty(0, dtype=np.int64))
    with pytest.raises(InputError, match="calibrated on"):
        calibrate(np.empty(0))


def test_familiarity_at_a_held_out_picture_is_the_share_as_strange():
    calibration = calibrate(np.array([0.4, 0.1, 0.3, 0.2]))
    np.testing.assert_allclose(familiarity(calibration, np.array([0.1, 0.2, 0.3, 0.4])), [0.8, 0.6, 0.4, 0.2])
    np.testing.assert_allclose(familiarity(calibration, np.array([0.15, 0.35])), [0.7, 0.3])
    tied = calibrate(np.array([0.1, 0.1, 0.1, 0.4]))
    np.testing.assert_allclose(familiarity(tied, np.array([0.1, 0.4])), [0.8, 0.2])


@pytest.mark.parametrize("held_out", [[0.3], [0.3, 0.3], [0.0], [0.1, 0.2, 0.5], list(np.linspace(0, 1, 5000) ** 2)])
def test_familiarity_falls_without_ties_from_one_to_zero(held_out):
    calibration = calibrate(np.array(held_out))
    span = max(np.ptp(held_out), 1e-3)
    s = np.sort(np.concatenate([np.linspace(min(held_out) - span, max(held_out) + 3 * span, 2001), [1e3, 1e4]]))
    f = familiarity(calibration, s)
    assert (np.diff(f) < 0).all()
    assert f.max() < 1
    assert 0 < f.min() < 0.01
    assert len(calibration.knots) <= familiar.KNOTS + 1
    np.testing.assert_allclose(curve(calibration, s), familiarity(calibration, s.astype(np.float32)), atol=1e-6)


def test_of_pictures_like_the_held_out_ones_a_share_t_is_below_t():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        calibration = calibrate(rng.normal(size=150))
        shares.append([(familiarity(calibration, rng.normal(size=150)) < t).mean() for t in (0.05, 0.2, 0.5)])
    np.testing.assert_allclose(np.mean(shares, axis=0), [0.05, 0.2, 0.5], atol=0.01)


def test_many_held_out_pictures_are_thinned_but_the_strange_ones():
    s = np.random.default_rng(0).normal(size=100_000)
    calibration = calibrate(s)
    assert isinstance(calibration, Calibration)
    assert len(calibration.knots) <= 1001
    np.testing.assert_array_equal(calibration.knots[-10:], np.sort(s)[-10:])
    for t in (0.001, 0.05, 0.5):
        assert (familiarity(calibration, s) < t).mean() == pytest.approx(t, rel=0.02)


def parts(photographs, rows):
    return photographs.pooled[rows], photographs.bottleneck[rows]


@pytest.mark.slow
def test_on_photographs_a_class_left_out_is_told_and_a_twentieth_of_the_known_ones_is_rejected(photographs):
    from sklearn.metrics import roc_auc_score

    left_out, shares = [], []
    for label in range(5):
        rows = np.random.default_rng(label).permutation(np.flatnonzero(photographs.labels != label))
        train, val, test = np.split(rows, [560, 680])
        reference = fit(*parts(photographs, train), photographs.labels[train])
        away = np.flatnonzero(photographs.labels == label)
        held_out, known, unknown = (strangeness(reference, *parts(photographs, part)) for part in (val, test, away))
        left_out.append(roc_auc_score(np.repeat([0, 1], [len(test), 200]), np.concatenate([known, unknown])))
        shares.append((familiarity(calibrate(held_out), known) < 0.05).mean())
    assert np.mean(left_out) > 0.78
    assert min(left_out) > 0.65
    assert np.mean(shares) == pytest.approx(0.05, abs=0.025)


@pytest.mark.slow
def test_drawn_rooms_streets_signs_and_charts_are_told_from_photographs(photographs, imagenet, tmp_path):
    from sklearn.metrics import roc_auc_score

    from winnow.curate import manifest
    from winnow.curate.demo.drawings import SCENES, draw_picture
    from winnow.curate.workspace import find_workspace
    from winnow.embed.config import EmbeddingConfig
    from winnow.workflow.features import embed

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
    reference = fit(*parts(photographs, train), photographs.labels[train])
    known, unknown = strangeness(reference, *parts(photographs, test)), strangeness(reference, *drawn)
    assert roc_auc_score(np.repeat([0, 1], [150, 40]), np.concatenate([known, unknown])) > 0.97
    calibration = calibrate(strangeness(reference, *parts(photographs, val)))
    assert (familiarity(calibration, unknown) < 0.05).mean() > 0.8
    told, share = session(reference, 1280, 320, calibration)(*drawn)
    np.testing.assert_allclose(told, unknown, rtol=1e-4)
    np.testing.assert_allclose(share, familiarity(calibration, unknown), atol=1e-4)
