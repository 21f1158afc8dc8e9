"""Every plot is drawn from the numbers that it is given."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.workflow.report import figure_files, plots


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_the_bars_of_a_class_are_its_pictures_stacked_by_split():
    _, ax = plots.new_figure(5, 2)
    plots.class_histogram(ax, np.array([[7, 14], [1, 3], [2, 4]]), ["ants", "bees"], ["train", "val", "test"])
    assert [[bar.get_width() for bar in bars] for bars in ax.containers] == [[7, 14], [1, 3], [2, 4]]
    assert [[bar.get_x() for bar in bars] for bars in ax.containers] == [[0, 0], [7, 14], [8, 17]]
    assert [bars.get_label() for bars in ax.containers] == ["train", "val", "test"]
    assert {"ants", "bees", "10", "21"} <= set(texts(ax))
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first class is on top"


def test_a_class_without_pictures_is_a_bar_of_no_length():
    _, ax = plots.new_figure(5, 2)
    plots.class_histogram(ax, np.zeros((3, 2), dtype=int), ["ants", "bees"], ["train", "val", "test"])
    assert {bar.get_width() for bar in ax.patches} == {0}


@pytest.mark.slow
def test_an_interval_goes_from_low_to_high_around_its_mean_and_stays_on_the_axis():
    _, ax = plots.new_figure(5, 2)
    plots.f1_intervals(ax, [("svm", 0.9, 0.88, 0.92), ("knn", 0.82, 0.78, 0.86), ("dummy", 0.1, 0.1, 0.1)], 0.8, 0.95)
    lines = [(list(line.get_xdata()), list(line.get_ydata()), line.get_marker()) for line in ax.lines]
    assert lines == [
        ([0.88, 0.92], [0, 0], "None"),
        ([0.9], [0], "o"),
        ([0.8, 0.86], [1, 1], "None"),
        ([0.82], [1], "o"),
        ([0.8], [2], "<"),
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["svm", "knn", "dummy"]
    assert texts(ax) == ["0.900", "0.820", "0.100"]


def test_a_confusion_matrix_is_shaded_by_the_root_of_the_part_of_the_true_class():
    _, ax = plots.new_figure(4, 4)
    plots.confusion_matrix(ax, np.array([[3, 1], [0, 0]]), ["ants", "bees"], "Test: 3 of 4 correct")
    np.testing.assert_array_equal(ax.images[0].get_array()[..., 3], [[221, 128], [0, 0]])
    assert texts(ax)[:4] == ["3", "1", "0", "0"]
    assert texts(ax)[4:] == ["ants", "bees", "ants", "bees"]
    assert ax.get_title(loc="left") == "Test: 3 of 4 correct"


@pytest.mark.parametrize(("classes", "counts", "names"), [(12, 144, 24), (60, 0, 120), (200, 0, 134)])
def test_a_confusion_matrix_of_many_classes_stays_readable(classes, counts, names):
    _, ax = plots.new_figure(9, 9)
    plots.confusion_matrix(ax, np.eye(classes, dtype=int), [f"class {i}" for i in range(classes)], "Test")
    written = texts(ax)
    assert sum(text.isdigit() for text in written) == counts
    assert sum(text.startswith("class") for text in written) == names


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("roses", "roses"),
        ("costs $5 to $9", r"costs \$5 to \$9"),
        ("line\nbreak\tand\x00more", "line break and more"),
        ("\u202eoverride", "override"),
        ("a" * 12 + "-" * 50 + "z" * 11, "a" * 12 + "…" + "z" * 11),
    ],
)
def test_a_label_is_drawn_as_one_line_of_plain_text(label, expected):
    assert plots.plain_label(label) == expected


def test_light_colours_differ_so_that_each_has_its_own_variable():
    assert len(plots.CSS_VARIABLES) == len(plots.PALETTE)


def test_the_best_epoch_is_marked_on_the_validation_curve_counting_from_one():
    _, ax = plots.new_figure(5, 3)
    plots.history_curve(ax, [0.9, 0.6, 0.4, 0.3], [0.8, 0.5, 0.45, 0.6], 2, "Loss")
    train, val, line, dot = ax.lines
    assert list(train.get_xdata()) == [1, 2, 3, 4]
    assert list(val.get_ydata()) == [0.8, 0.5, 0.45, 0.6]
    assert set(line.get_xdata()) == {3}
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (3, 0.45)
    assert "best epoch: 3 (0.450)" in texts(ax)
    assert {"training", "validation"} <= set(texts(ax))
    assert ax.get_yscale() == "linear"


def test_a_loss_that_falls_a_hundredfold_is_on_a_logarithmic_axis():
    _, ax = plots.new_figure(5, 3)
    plots.history_curve(ax, [1.0, 0.1, 0.01], [1.0, 0.3, 0.2], 2, "Loss")
    assert ax.get_yscale() == "log"


def test_epochs_after_training_diverged_are_gaps():
    figure, ax = plots.new_figure(5, 3)
    plots.history_curve(ax, [0.9, float("nan"), None], [0.8, float("inf"), None], 2, "Loss")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.9, np.nan, np.nan])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [0.8, np.nan, np.nan])
    assert "best epoch: 3" in texts(ax)
    assert "<svg" in figure_files.to_svg(figure, "diverged")


def test_a_history_without_one_finite_value_says_so():
    _, ax = plots.new_figure(5, 3)
    plots.history_curve(ax, [None, float("nan")], [], 0, "Loss")
    assert texts(ax) == ["no finite values: training diverged"]


def test_names_of_curves_that_end_together_do_not_touch():
    _, ax = plots.new_figure(5, 3)
    plots.history_curve(ax, [0.9, 0.5], [0.8, 0.5], None, "Loss")
    heights = {text.get_text(): text.xy[1] for text in ax.texts}
    assert abs(heights["training"] - heights["validation"]) == pytest.approx(0.09)


def test_rates_share_the_axis_of_epochs_with_the_curve_above_them():
    _, (upper, lr, momentum) = plots.stacked_axes(5, [3, 1, 1])
    plots.history_curve(upper, [0.9, 0.6, 0.4], [0.8, 0.5, 0.45], 2, "Loss")
    plots.rate_curve(lr, [0.1, 0.01, 0.001], "learning rate", log=True)
    plots.rate_curve(momentum, [0.9, 0.5, 0.0], "momentum", log=True)
    assert list(lr.lines[0].get_xdata()) == [1, 2, 3]
    assert list(momentum.lines[0].get_ydata()) == [0.9, 0.5, 0.0]
    assert lr.get_xlim() == momentum.get_xlim() == upper.get_xlim() == (1, 3)
    assert (lr.get_yscale(), momentum.get_yscale()) == ("log", "linear")
    assert [ax.get_title(loc="left") for ax in (lr, momentum)] == ["learning rate", "momentum"]


def test_each_point_of_a_reliability_diagram_is_a_bin_that_is_not_empty():
    _, ax = plots.new_figure(4, 4)
    plots.reliability(ax, [0, 0.3, 0.9], [0, 0.5, 0.8], [0, 10, 40], "Expected calibration error 0.120")
    (points,) = [collection for collection in ax.collections if collection.get_offsets().shape == (2, 2)]
    assert points.get_offsets().tolist() == [[0.3, 0.5], [0.9, 0.8]]
    lengths = [line.get_segments() for line in ax.collections if hasattr(line, "get_segments")][0]
    assert [segment.tolist() for segment in lengths] == [[[0.3, 0.3], [0.3, 0.5]], [[0.9, 0.9], [0.9, 0.8]]]
    (diagonal,) = ax.lines
    assert (list(diagonal.get_xdata()), list(diagonal.get_ydata())) == ([0, 1], [0, 1])
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0, 0.05, 0.2])
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([0, 1 / 3, 2 / 3])
    assert texts(ax) == ["50 predictions"]
    assert ax.get_title(loc="left") == "Expected calibration error 0.120"


def test_a_learning_curve_shows_an_extrapolated_point():
    _, ax = plots.new_figure(5, 3)
    sizes = [(70, 0.8, 0.7, 0.9), (700, 0.9, 0.88, 0.92)]
    curve = np.array([[70, 700, 1400], [0.8, 0.9, 0.92]])
    plots.learning_curve(ax, sizes, curve, (1400, 0.92, 0.9, 0.94))
    dashed, points, end = ax.lines
    assert list(dashed.get_xdata()) == [70, 700, 1400]
    assert list(points.get_ydata()) == [0.8, 0.9]
    assert (list(end.get_xdata()), list(end.get_ydata())) == ([1400], [0.92])
    assert texts(ax) == ["extrapolated: 0.920", "0.900"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["70", "700", "1,400"]
    assert ax.get_xscale() == "log"


def test_without_an_extrapolation_only_the_points_are_drawn():
    _, ax = plots.new_figure(5, 3)
    plots.learning_curve(ax, [(70, 0.8, 0.7, 0.9), (700, 0.9, 0.88, 0.92)], None)
    assert len(ax.lines) == 1
    assert texts(ax) == ["0.900"]
