from __future__ import annotations

import numpy as np
import pytest

from winnow.workflow.report import diagrams, plots


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_a_point_of_a_reliability_plot_is_a_bin_that_holds_something():
    drawn, ax = plots.figure(4, 4)
    diagrams.reliability(ax, [0, 0.3, 0.9], [0, 0.5, 0.8], [0, 10, 40], "Expected calibration error 0.120")
    (points,) = [made for made in ax.collections if made.get_offsets().shape == (2, 2)]
    assert points.get_offsets().tolist() == [[0.3, 0.5], [0.9, 0.8]]
    lengths = [line.get_segments() for line in ax.collections if hasattr(line, "get_segments")][0]
    assert [segment.tolist() for segment in lengths] == [[[0.3, 0.3], [0.3, 0.5]], [[0.9, 0.9], [0.9, 0.8]]]
    (diagonal,) = ax.lines
    assert (list(diagonal.get_xdata()), list(diagonal.get_ydata())) == ([0, 1], [0, 1])
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0, 0.05, 0.2])
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([0, 1 / 3, 2 / 3])
    assert words(ax) == ["50 predictions"]
    assert ax.get_title(loc="left") == "Expected calibration error 0.120"
    assert plots.to_png(drawn).startswith(b"\x89PNG")


def test_a_learning_curve_goes_on_to_a_guess():
    drawn, ax = plots.figure(5, 3)
    sizes = [(70, 0.8, 0.7, 0.9), (700, 0.9, 0.88, 0.92)]
    curve = np.array([[70, 700, 1400], [0.8, 0.9, 0.92]])
    diagrams.learning_curve(ax, sizes, curve, (1400, 0.92, 0.9, 0.94))
    dashed, points, guess = ax.lines
    assert list(dashed.get_xdata()) == [70, 700, 1400]
    assert list(points.get_ydata()) == [0.8, 0.9]
    assert (list(guess.get_xdata()), list(guess.get_ydata())) == ([1400], [0.92])
    assert words(ax) == ["a guess: 0.920", "0.900"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["70", "700", "1,400"]
    assert ax.get_xscale() == "log"
    assert plots.to_svg(drawn, "curve") == plots.to_svg(drawn, "curve")


def test_without_a_guess_only_the_points_are_drawn():
    _, ax = plots.figure(5, 3)
    diagrams.learning_curve(ax, [(70, 0.8, 0.7, 0.9), (700, 0.9, 0.88, 0.92)], None)
    assert len(ax.lines) == 1
    assert words(ax) == ["0.900"]
