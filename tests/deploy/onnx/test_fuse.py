"""The fused graph computes what backbone, head and familiarity compute one after the other."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from winnow.common.errors import InputError
from winnow.deploy import novelty
from winnow.deploy.onnx.fuse import TTA_IN_FILE, fuse
from winnow.deploy.onnx.head import to_onnx
from winnow.embed import images
from winnow.embed.quantize import to_float16_weights
from winnow.embed.recipe import RESIZES, Recipe
from winnow.heads.evaluation.fit import HeadSpec, Split, Task, fit_estimator

CLASSES = ["<b>", "a/b", "花"]
RECIPES = {pool: Recipe(size=96, pool=pool) for pool in ("avg", "none")}


def make_backbone(pool="avg"):
    """Four pixels of a 96 x 96 picture: their mean, or the 2 x 2 map, and its red and green as the bottleneck. A mirror
    image has other values. Inner names clash with those of heads on purpose."""
    map_, mean = ("embedding", "labels") if pool == "none" else ("labels", "embedding")
    nodes = [
        helper.make_node("Cast", ["image"], ["label"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["label", "columns"], ["probabilities"]),
        helper.make_node("Slice", ["probabilities", "from", "end", "axes", "step"], [map_]),
        helper.make_node("ReduceMean", [map_], [mean], axes=[1, 2], keepdims=0),
        helper.make_node("Gather", [mean, "two"], ["bottleneck"], axis=1),
    ]
    numbers = {"columns": np.float32(1 / 255), "from": [5, 7], "end": [96, 96], "axes": [1, 2], "step": [48, 48]}
    numbers["two"] = [0, 1]
    shape = ["batch", 3] if pool == "avg" else ["batch", 2, 2, 3]
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 96, 96, 3])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("bottleneck", TensorProto.FLOAT, ["batch", 2]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(n, height=96, width=96):
    return np.random.default_rng(n).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def run(model, pixels):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: pixels}), strict=True))


def make_head(kind="logistic", dimension=3):
    """A head's graph, fitted on 60 vectors of three classes."""
    rng = np.random.default_rng(0)
    y, rows = np.arange(60) % 3, np.arange(60)
    X = (rng.uniform(size=(60, dimension)) / 4 + np.eye(3)[y][:, np.arange(dimension) % 3] / 2).astype(np.float32)
    estimator = fit_estimator(
        HeadSpec(kind, kind, {"n_estimators": 10} if kind == "forest" else {}),
        Task(X, y, CLASSES),
        Split(rows, rows, rows, rows),
    )
    return to_onnx(estimator, CLASSES, dimension)


def shapes(values):
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values
    }


@pytest.fixture(scope="module")
def head():
    return make_head()


@pytest.fixture(scope="module")
def ood_model():
    vectors = np.random.default_rng(1).uniform(size=(30, 3)).astype(np.float32)
    return novelty.fit_ood_model(vectors, vectors[:, :2], np.arange(30) % 3)


@pytest.fixture(scope="module")
def calibration():
    return novelty.calibrate(np.random.default_rng(2).uniform(size=50))


def test_the_form_of_the_file(head, ood_model, calibration):
    model = fuse(make_backbone(), head, RECIPES["avg"], ood_model, calibration)
    assert shapes(model.graph.input) == {"image": ["batch", 96, 96, 3]}
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    expected = {"label": ["batch"], "probabilities": ["batch", 3], "embedding": ["batch", 3], "familiarity": ["batch"]}
    assert list(shapes(model.graph.output).items()) == list(expected.items())  # also in this order
    assert [output.type.tensor_type.elem_type for output in model.graph.output] == [TensorProto.STRING, 1, 1, 1]
    assert {(opset.domain, opset.version) for opset in model.opset_import} == {("", 17), ("ai.onnx.ml", 3)}
    assert model.ir_version == 8
    assert not any(tensor.HasField("data_location") for tensor in model.graph.initializer)


def test_the_form_of_a_file_for_pictures_of_any_size(head, ood_model, calibration):
    model = fuse(make_backbone(), head, RECIPES["avg"], ood_model, calibration, any_size=True)
    assert shapes(model.graph.input) == {"image": ["height", "width", 3]}
    assert shapes(model.graph.output) == {
        "label": [1],
        "probabilities": [1, 3],
        "embedding": [1, 3],
        "familiarity": [1],
    }


@pytest.mark.parametrize("pool", ["avg", "none"])
@pytest.mark.parametrize("kind", ["logistic", "lda", "knn", "centroid", "forest", "dummy", "supcon"])
def test_it_predicts_what_the_parts_predict_in_turn(kind, pool):
    backbone, head = make_backbone(pool), make_head(kind, 3 if pool == "avg" else 12)
    outputs = run(fuse(backbone, head, RECIPES[pool], None, None), pictures(5))
    vectors = run(backbone, pictures(5))["embedding"]
    expected = run(head, vectors.reshape(5, -1))
    assert list(outputs) == ["label", "probabilities", "embedding"]
    np.testing.assert_array_equal(outputs["embedding"], vectors)
    np.testing.assert_array_equal(outputs["probabilities"], expected["probabilities"])
    assert outputs["label"].tolist() == expected["label"].tolist()
    assert set(outputs["label"]) <= set(CLASSES)


@pytest.mark.parametrize("pool", ["avg", "none"])
def test_flip_averages_vectors_or_the_probabilities_of_maps(pool, ood_model):
    backbone, head = make_backbone(pool), make_head("svm-rbf", 3 if pool == "avg" else 12)
    outputs = run(fuse(backbone, head, RECIPES[pool], ood_model, None, tta="flip"), pictures(4))
    both = [run(backbone, view) for view in (pictures(4), np.ascontiguousarray(pictures(4)[:, :, ::-1]))]
    assert np.abs(both[0]["embedding"] - both[1]["embedding"]).max() > 0.1
    mean = {name: (both[0][name] + both[1][name]) / 2 for name in both[0]}
    np.testing.assert_array_equal(outputs["embedding"], mean["embedding"])
    vectors = [mean["embedding"]] if pool == "avg" else [each["embedding"] for each in both]
    expected = np.mean([run(head, vector.reshape(4, -1))["probabilities"] for vector in vectors], axis=0)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
    assert outputs["label"].tolist() == [CLASSES[best] for best in expected.argmax(axis=1)]
    pooled = mean["embedding"].reshape(4, -1, 3).mean(axis=1)
    score = novelty.ood_score(ood_model, pooled, mean["bottleneck"])
    np.testing.assert_allclose(outputs["ood_score"], score, atol=1e-5)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("tta", TTA_IN_FILE)
def test_a_picture_of_any_size_gives_what_its_square_gives(tta, resize, head, ood_model, calibration):
    recipe = Recipe(size=96, resize=resize)
    parts = make_backbone(), head, recipe, ood_model, calibration
    (picture,) = pictures(1, height=150, width=110)
    outputs = run(fuse(*parts, tta=tta, any_size=True), picture)
    expected = run(fuse(*parts, tta=tta), images.resize_to_square(picture, 96, resize)[None])
    assert list(outputs) == list(expected) == ["label", "probabilities", "embedding", "familiarity"]
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value)


@pytest.mark.parametrize("pool", ["avg", "none"])
def test_ood_score_and_familiarity_are_those_of_the_vectors(pool, ood_model, calibration):
    backbone, head = make_backbone(pool), make_head("centroid", 3 if pool == "avg" else 12)
    vectors = run(backbone, pictures(9))
    pooled = vectors["embedding"].reshape(9, -1, 3).mean(axis=1)
    expected = novelty.ood_score(ood_model, pooled, vectors["bottleneck"])
    scores = run(fuse(backbone, head, RECIPES[pool], ood_model, None), pictures(9))
    assert list(scores) == ["label", "probabilities", "embedding", "ood_score"]
    np.testing.assert_allclose(scores["ood_score"], expected, rtol=1e-4, atol=1e-5)
    familiarity = run(fuse(backbone, head, RECIPES[pool], ood_model, calibration), pictures(9))["familiarity"]
    assert familiarity.dtype == np.float32
    assert familiarity.shape == (9,)
    np.testing.assert_allclose(familiarity, novelty.conformal_p_value(calibration, scores["ood_score"]), atol=1e-5)


def test_a_picture_gets_the_same_prediction_in_any_batch(head, ood_model, calibration):
    model = fuse(make_backbone(), head, RECIPES["avg"], ood_model, calibration)
    together = run(model, pictures(5))
    alone = [run(model, picture[None]) for picture in pictures(5)]
    for name in ("label", "embedding"):
        assert together[name].tolist() == [
            outputs[name][0].tolist() if name != "label" else outputs[name][0] for outputs in alone
        ]
    for name in ("probabilities", "familiarity"):
        np.testing.assert_allclose(together[name], np.concatenate([outputs[name] for outputs in alone]), atol=1e-6)


def test_a_backbone_with_half_weights_goes_in(head):
    outputs = run(fuse(to_float16_weights(make_backbone()), head, RECIPES["avg"], None, None), pictures(2))
    np.testing.assert_array_equal(outputs["embedding"], run(make_backbone(), pictures(2))["embedding"])


def test_the_parts_are_not_changed(head):
    backbone = make_backbone()
    before = backbone.SerializeToString(), head.SerializeToString()
    fuse(backbone, head, RECIPES["avg"], None, None, tta="flip")
    assert (backbone.SerializeToString(), head.SerializeToString()) == before


def test_other_test_time_augmentation_is_refused(head):
    with pytest.raises(InputError, match=r"must be one of none, flip. Got 'ten crops' instead"):
        fuse(make_backbone(), head, RECIPES["avg"], None, None, tta="ten crops")


def test_parts_that_do_not_fit_together_are_refused(head):
    with pytest.raises(InputError, match="the head takes vectors of 12 numbers, but the backbone returns 3"):
        fuse(make_backbone(), make_head(dimension=12), RECIPES["avg"], None, None)
    with pytest.raises(InputError, match="takes pictures of 96 x 96, but its recipe says 224"):
        fuse(make_backbone(), head, Recipe(), None, None)


def test_it_loads_without_warnings(head, ood_model, calibration, capfd):
    model = fuse(make_backbone(), head, RECIPES["avg"], ood_model, calibration, any_size=True)
    onnx.checker.check_model(model, full_check=True)
    run(model, pictures(1)[0])
    assert capfd.readouterr() == ("", "")
