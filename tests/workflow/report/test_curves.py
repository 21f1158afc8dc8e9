import numpy as np
import pytest

from winnow.workflow.report import curves, plots


def words(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_the_kept_epoch_is_marked_on_the_validation_curve_counting_from_one():
    _, ax = plots.figure(5, 3)
    curves.history_curve(ax, [0.9, 0.6, 0.4, 0.3], [0.8, 0.5, 0.45, 0.6], 2, "Loss")
    train, val, line, dot = ax.lines
    assert list(train.get_xdata()) == [1, 2, 3, 4]
    assert list(val.get_ydata()) == [0.8, 0.5, 0.45, 0.6]
    assert set(line.get_xdata()) == {3}
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (3, 0.45)
    assert "kept: epoch 3 (0.450)" in words(ax)
    assert {"training", "validation"} <= set(words(ax))
    assert ax.get_yscale() == "linear"


def test_a_loss_that_falls_a_hundredfold_is_on_a_logarithmic_axis():
    _, ax = plots.figure(5, 3)
    curves.history_curve(ax, [1.0, 0.1, 0.01], [1.0, 0.3, 0.2], 2, "Loss")
    assert ax.get_yscale() == "log"


def test_epochs_after_a_fit_diverged_are_gaps():
    drawn, ax = plots.figure(5, 3)
    curves.history_curve(ax, [0.9, float("nan"), None], [0.8, float("inf"), None], 2, "Loss")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.9, np.nan, np.nan])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [0.8, np.nan, np.nan])
    assert "kept: epoch 3" in words(ax)
    plots.to_svg(drawn, "diverged")


def test_a_history_without_one_finite_value_says_so():
    _, ax = plots.figure(5, 3)
    curves.history_curve(ax, [None, float("nan")], [], 0, "Loss")
    assert words(ax) == ["no finite values: the fit diverged"]


def test_names_of_curves_that_end_together_do_not_touch():
    _, ax = plots.figure(5, 3)
    curves.history_curve(ax, [0.9, 0.5], [0.8, 0.5], None, "Loss")
    heights = {text.get_text(): text.xy[1] for text in ax.texts}
    assert abs(heights["training"] - heights["validation"]) == pytest.approx(0.09)


def test_rates_are_drawn_on_the_axis_of_the_epochs_above_them():
    _, (upper, lr, momentum) = plots.panels(5, [3, 1, 1])
    curves.history_curve(upper, [0.9, 0.6, 0.4], [0.8, 0.5, 0.45], 2, "Loss")
    curves.rate_curve(lr, [0.1, 0.01, 0.001], "learning rate", log=True)
    curves.rate_curve(momentum, [0.9, 0.5, 0.0], "momentum", log=True)
    assert list(lr.lines[0].get_xdata()) == [1, 2, 3]
    assert list(momentum.lines[0].get_ydata()) == [0.9, 0.5, 0.0]
    assert lr.get_xlim() == momentum.get_xlim() == upper.get_xlim() == (1, 3)
    assert (lr.get_yscale(), momentum.get_yscale()) == ("log", "linear")
    assert [ax.get_title(loc="left") for ax in (lr, momentum)] == ["learning rate", "momentum"]
