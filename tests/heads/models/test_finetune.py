"""Fine-tuning on stored feature maps: it starts as the pretrained network and learns."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.embed.backbone import finetune_input_layer
from winnow.heads.models.finetune import WARM_UP, FineTunedHead, _row_order, _schedule

pytestmark = pytest.mark.slow  # TensorFlow is imported


def maps(unfreeze, size=96, alpha=0.35, n=6):
    """Flattened feature maps of an untrained network for seeded images, and its pooled output for them."""
    from winnow.embed.backbone import build_network
    from winnow.embed.keras_import import import_keras
    from winnow.embed.recipe import Recipe
    from winnow.embed.weights import find_weights

    keras, _ = import_keras("this test")
    recipe = Recipe(weights="random", alpha=alpha, size=size)
    net = build_network(keras, recipe, find_weights(recipe))
    both = keras.Model(net.input, [net.get_layer(finetune_input_layer(unfreeze)).output, net.output])
    pictures = np.random.default_rng(0).uniform(-1, 1, (n, size, size, 3)).astype(np.float32)
    features, output = (np.asarray(one) for one in both(pictures, training=False))
    return features.reshape(n, -1), output.mean(axis=(1, 2))


def head(**params):
    return FineTunedHead(weights="random", alpha=0.35, size=96, **params)


@pytest.mark.parametrize("unfreeze", [1, 3, 4, 16])
def test_before_training_it_equals_the_pretrained_network(unfreeze):
    import keras

    from winnow.embed.backbone import build_network
    from winnow.embed.recipe import Recipe
    from winnow.embed.weights import find_weights
    from winnow.heads.models.finetune import _trainable_end

    X, pooled = maps(unfreeze)
    recipe = Recipe(weights="random", alpha=0.35, size=96)
    end = _trainable_end(keras, build_network(keras, recipe, find_weights(recipe)), unfreeze, X.shape[1], classes=3)
    fine_tuned = head(unfreeze=unfreeze)
    fine_tuned.model_ = end
    features = np.asarray(keras.Model(end.input, end.layers[-1].input)(fine_tuned._maps(X)))
    np.testing.assert_allclose(features, pooled, atol=2e-4)


@pytest.mark.parametrize(("unfreeze", "layer"), [(1, "block_15_add"), (3, "block_13_project_BN"), (4, "block_12_add")])
def test_the_input_layer_for_a_number_of_blocks(unfreeze, layer):
    assert finetune_input_layer(unfreeze) == layer


@pytest.fixture(scope="module")
def two_classes():
    """Feature maps of 24 images of two classes that differ in some channels, three rows of each image."""
    X = np.repeat(maps(2, n=24)[0], 3, axis=0)
    y = np.repeat(np.arange(24) % 2, 3)
    X = X + np.random.default_rng(1).normal(0, 0.1, X.shape)
    X.reshape(72, 3, 3, -1)[y == 1, :, :, :8] += 3.0
    return X.astype(np.float16), np.array(["no", "yes"])[y], np.repeat(np.arange(24), 3)


def test_it_learns_and_records_its_history(two_classes):
    X, y, groups = two_classes
    progress: list[tuple[int, int]] = []
    fine_tuned = head(unfreeze=2, epochs=12, batch_size=8).fit(
        X, y, groups=groups, on_epoch=lambda *counts: progress.append(counts)
    )
    assert progress == [(epoch, 12) for epoch in range(1, 13)]
    assert fine_tuned.classes_.tolist() == ["no", "yes"]
    proba = fine_tuned.predict_proba(X)
    assert proba.shape == (72, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert (fine_tuned.predict(X) == y).mean() > 0.95
    assert [len(values) for values in fine_tuned.history_.values()] == [12, 12, 12]
    assert fine_tuned.history_["loss"][-1] < fine_tuned.history_["loss"][0]
    assert fine_tuned.best_epoch_ == 11


def test_the_same_seed_gives_the_same_head(two_classes):
    X, y, groups = two_classes
    one, two, other = (
        head(unfreeze=1, epochs=2, batch_size=8, seed=seed).fit(X, y, groups=groups) for seed in (0, 0, 1)
    )
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), atol=1e-5)
    assert np.abs(one.predict_proba(X) - other.predict_proba(X)).max() > 1e-4


def test_training_on_rows_of_an_array_equals_training_on_these_rows_alone(two_classes):
    X, y, groups = two_classes
    rows = np.arange(71, 20, -1)
    subset, copied = (head(unfreeze=1, epochs=2, batch_size=8) for _ in range(2))
    subset.fit(X, y[rows], groups=groups[rows], rows=rows)
    copied.fit(X[rows], y[rows], groups=groups[rows])
    np.testing.assert_allclose(subset.predict_proba(X), copied.predict_proba(X), atol=1e-5)


def test_maps_with_nan_or_infinity_are_refused(two_classes):
    X, y, _ = two_classes
    fine_tuned, bad = head(unfreeze=1, epochs=1), X.copy()
    bad[3, 5] = np.inf
    with pytest.raises(ValueError, match="feature maps contain NaN or infinity"):
        fine_tuned.fit(bad, y)
    with pytest.raises(ValueError, match="feature maps contain NaN or infinity"):
        fine_tuned.fit(X, y).predict(bad)


def test_an_epoch_has_as_many_rows_as_there_are_images(two_classes, monkeypatch):
    import keras

    X, y, groups = two_classes
    sizes, batches, train_on_batch = [], [], keras.Model.train_on_batch

    def recorded(model, maps, *arguments, **options):
        sizes.append(len(maps))
        batches.append(train_on_batch(model, maps, *arguments, **options))
        return batches[-1]

    monkeypatch.setattr(keras.Model, "train_on_batch", recorded)
    history = head(unfreeze=2, epochs=3, batch_size=8).fit(X, y, groups=groups).history_
    assert sizes == [8] * 9  # three batches of eight are 24 images
    for name in ("loss", "accuracy"):  # means over all batches of an epoch
        means = np.reshape([batch[name] for batch in batches], (3, 3)).mean(axis=1)
        assert history[name] == pytest.approx(means, rel=1e-6)


def test_all_rows_are_used_before_one_is_used_again():
    order = _row_order(5, 12, seed=0)
    assert len(order) == 12
    assert sorted(order[:5].tolist()) == sorted(order[5:10].tolist()) == list(range(5))
    assert order[:5].tolist() != order[5:10].tolist()


def test_the_learning_rate_rises_and_decays_to_0():
    import keras

    schedule = _schedule(keras, 0.1, 100)
    rates = np.array([float(schedule(step)) for step in range(100)])
    assert rates[:6] == pytest.approx([0.02, 0.036, 0.052, 0.068, 0.084, 0.1])
    assert (np.diff(rates[int(100 * WARM_UP) :]) < 0).all()
    assert 0 < rates[-1] < 1e-4


def test_divergence_is_an_error(two_classes):
    X, y, groups = two_classes
    with pytest.raises(ValueError, match="training diverged in epoch [12]: a smaller lr than 1e\\+38 helps"):
        head(unfreeze=1, epochs=2, lr=1e38).fit(X, y, groups=groups)


def test_maps_of_another_layer_are_refused(two_classes):
    X, y, _ = two_classes
    with pytest.raises(ValueError, match="the last 5 blocks has 32 channels, which 504 features do not fit"):
        head(unfreeze=5).fit(X, y)
    with pytest.raises(ValueError, match="'unfreeze' parameter of FineTunedHead must be an int in the range"):
        head(unfreeze=17).fit(X, y)


def test_the_exported_graph_has_the_same_probabilities(two_classes, tmp_path):
    from winnow.deploy.onnx.head import check_parity, to_onnx

    X, y, groups = two_classes
    fine_tuned = head(unfreeze=1, epochs=1, batch_size=8).fit(X, y, groups=groups)
    assert check_parity(to_onnx(fine_tuned, ["no", "yes"], X.shape[1]), fine_tuned, X[:10]) < 1e-5


def test_the_length_of_an_epoch_does_not_depend_on_the_groups_of_the_split(monkeypatch):
    from winnow.heads.evaluation.fit import HeadSpec, Split, Task, fit_estimator

    arguments = {}
    monkeypatch.setattr(FineTunedHead, "fit", lambda self, X, y, **how: arguments.update(X=X, y=y, **how))
    X = np.arange(16, dtype=np.float16)[:, None]  # two versions of eight images, all in one group
    split = Split(np.array([5, 0, 3]), np.array([1]), np.array([2]), np.zeros(16, int), augmented=np.array([13, 8, 11]))
    fit_estimator(HeadSpec("finetune", "finetune"), Task(X, np.tile(np.arange(8) % 2, 2), ["a", "b"]), split)
    assert arguments["X"] is X  # not a copy
    assert (arguments["rows"].tolist(), arguments["y"].tolist()) == ([5, 0, 3, 13, 8, 11], [1, 0, 1, 1, 0, 1])
    assert arguments["groups"].tolist() == [0, 1, 2, 0, 1, 2]
