from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from winnow.heads.models.schedules import SCHEDULES, learning_rate, momentum, reductions


def settings(**params):
    defaults = {"lr": 1.0, "momentum": 0.9, "epochs": 10, "schedule": "constant", "warmup": 0, "factor": 0.1}
    return SimpleNamespace(**{**defaults, "step_size": None, "momentum_end": None, **params})


def rates(t, **params):
    return learning_rate(np.array(t, dtype=float), settings(**params)).tolist()


def momenta(t, **params):
    return momentum(np.array(t, dtype=float), settings(**params)).tolist()


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"schedule": "constant"}, [0.5, 0.5, 0.5, 0.5]),
        ({"schedule": "step", "step_size": 5}, [0.5, 0.5, 0.05, 0.05]),
        ({"schedule": "step", "epochs": 6}, [0.5, 0.05, 0.005, 0.0005]),  # a third of six epochs is two
        ({"schedule": "exponential", "step_size": 5, "factor": 0.25}, [0.5, 0.25, 0.125, 0.0625]),
        ({"schedule": "cosine"}, [0.5, 0.25 + 0.25 * np.cos(np.pi / 4), 0.25, 0.25 - 0.25 * np.cos(np.pi / 4)]),
        ({"schedule": "one-cycle", "warmup": 5}, [0.02, 0.26, 0.5, 0.25]),
        ({"schedule": "cosine", "warmup": 5}, [0, 0.25, 0.5, 0.25]),
        ({"schedule": "constant", "warmup": 5}, [0, 0.25, 0.5, 0.5]),
    ],
)
def test_the_learning_rate_by_hand(params, expected):
    assert rates([0, 2.5, 5, 7.5], lr=0.5, **params) == pytest.approx(expected)


def test_one_cycle_rises_for_three_tenths_by_default():
    assert rates([0, 1.5, 3, 6.5, 10], schedule="one-cycle") == pytest.approx([0.04, 0.52, 1, 0.5, 0])
    assert momenta([0, 1.5, 3, 6.5, 10], schedule="one-cycle") == pytest.approx([0.9, 0.85, 0.8, 0.85, 0.9])
    assert momenta([0, 3, 10], schedule="one-cycle", momentum_end=0.2) == pytest.approx([0.9, 0.2, 0.9])
    assert momenta([0, 3], schedule="one-cycle", momentum=0.0) == [0, 0]


def test_momentum_decays_as_in_demon():
    """Chen et al., section 3: b_t = b (1 - t / T) / ((1 - b) + b (1 - t / T))."""
    t = np.array([0, 2.5, 5, 9.9])
    left = 1 - t / 10
    demon = 0.9 * left / (0.1 + 0.9 * left)
    assert momenta(t, momentum_end=0.0) == pytest.approx(demon.tolist())
    assert momenta([0, 5, 10], momentum=0.5, momentum_end=0.9) == pytest.approx([0.5, 5 / 6, 0.9])
    assert momenta([0, 5]) == [0.9, 0.9]
    assert momenta([0, 5], momentum=1) == [1, 1]


@pytest.mark.parametrize(
    ("scores", "wait", "expected"),
    [
        ([], 1, 0),
        ([3, 2, 1], 1, 0),
        ([3, 3], 1, 1),  # equal is not better
        ([1, 2, 2, 0.5, 2, 2, 2, 2], 2, 3),
        ([1, 2, 2, 0.5, 2, 2, 2], 3, 1),
        ([1, 2, 2, 2, 1.5, 1.2, 1.1], 3, 2),  # the lowest so far counts, also from before a reduction
    ],
)
def test_reductions_by_hand(scores, wait, expected):
    assert reductions(scores, wait) == expected


def test_a_plateau_is_counted_after_the_warm_up():
    at = settings(schedule="plateau", warmup=2, factor=0.5, step_size=2)
    assert learning_rate(np.array([5.0]), at, [1, 2, 3, 3, 3]).tolist() == [0.5]
    assert learning_rate(np.array([4.0]), at, [1, 2, 3, 3]).tolist() == [1]
    at = settings(schedule="plateau", epochs=11)  # a tenth of the epochs, rounded up
    assert [learning_rate(np.array([5.0]), at, [1.0] * n)[0] for n in (2, 3)] == pytest.approx([1, 0.1])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 3])
def test_rates_are_between_0_and_lr(schedule, warmup):
    t = np.arange(700) / 70
    lr = learning_rate(t, settings(schedule=schedule, warmup=warmup, lr=0.3))
    assert lr.dtype == np.float64
    assert lr.min() >= 0
    assert lr.max() <= 0.3
    assert lr.max() == pytest.approx(0.3, rel=0.02)


@pytest.mark.slow
class TestAsKeras:
    STEPS = 7  # per epoch

    def rates(self, **params):
        return rates(np.arange(10 * self.STEPS) / self.STEPS, lr=0.2, **params)

    def keras_rates(self, schedule):
        return [float(schedule(step)) for step in range(10 * self.STEPS)]

    @pytest.fixture
    def keras(self):
        from winnow.embed.keras_import import import_keras

        return import_keras("this test")[0]

    def test_cosine_with_a_warm_up(self, keras):
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, 8 * self.STEPS, warmup_target=0.2, warmup_steps=2 * self.STEPS
        )
        assert self.rates(schedule="cosine", warmup=2) == pytest.approx(self.keras_rates(schedule), abs=1e-7)

    def test_exponential(self, keras):
        schedule = keras.optimizers.schedules.ExponentialDecay(0.2, 4 * self.STEPS, 0.3)
        assert self.rates(schedule="exponential", factor=0.3, step_size=4) == pytest.approx(self.keras_rates(schedule))

    def test_step(self, keras):
        ends = [3 * self.STEPS - 1, 6 * self.STEPS - 1, 9 * self.STEPS - 1]  # Keras: the last step with a value
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay(ends, [0.2, 0.1, 0.05, 0.025])
        assert self.rates(schedule="step", factor=0.5, step_size=3) == pytest.approx(self.keras_rates(schedule))

    def test_plateau(self, keras):
        scores = np.random.default_rng(0).normal(size=60).round(1).tolist()
        callback = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=3, min_delta=0, min_lr=0)
        optimizer = keras.optimizers.SGD(0.2)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(optimizer, "mse")
        callback.set_model(model)
        callback.on_train_begin()
        at = settings(lr=0.2, schedule="plateau", factor=0.5, step_size=3, epochs=60)
        for epoch, score in enumerate(scores):
            callback.on_epoch_end(epoch, {"val_loss": score})
            lr = learning_rate(np.array([epoch + 1.0]), at, scores[: epoch + 1])[0]
            assert lr == pytest.approx(float(optimizer.learning_rate), rel=1e-5)
        assert lr < 0.01
