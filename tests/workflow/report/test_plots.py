import re
import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from winnow.workflow.report import plots, svg


def words(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_the_bars_of_a_class_are_its_pictures_stacked_by_split():
    _, ax = plots.figure(5, 2)
    plots.class_histogram(ax, np.array([[7, 14], [1, 3], [2, 4]]), ["ants", "bees"], ["train", "val", "test"])
    assert [[bar.get_width() for bar in bars] for bars in ax.containers] == [[7, 14], [1, 3], [2, 4]]
    assert [[bar.get_x() for bar in bars] for bars in ax.containers] == [[0, 0], [7, 14], [8, 17]]
    assert [bars.get_label() for bars in ax.containers] == ["train", "val", "test"]
    assert {"ants", "bees", "10", "21"} <= set(words(ax))
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first class is on top"


def test_a_class_without_pictures_is_a_bar_of_no_length():
    _, ax = plots.figure(5, 2)
    plots.class_histogram(ax, np.zeros((3, 2), dtype=int), ["ants", "bees"], ["train", "val", "test"])
    assert {bar.get_width() for bar in ax.patches} == {0}


@pytest.mark.slow
def test_an_interval_goes_from_low_to_high_around_its_mean_and_stays_on_the_axis():
    _, ax = plots.figure(5, 2)
    plots.intervals(ax, [("svm", 0.9, 0.88, 0.92), ("knn", 0.82, 0.78, 0.86), ("dummy", 0.1, 0.1, 0.1)], 0.8, 0.95)
    drawn = [(list(line.get_xdata()), list(line.get_ydata()), line.get_marker()) for line in ax.lines]
    assert drawn == [
        ([0.88, 0.92], [0, 0], "None"),
        ([0.9], [0], "o"),
        ([0.8, 0.86], [1, 1], "None"),
        ([0.82], [1], "o"),
        ([0.8], [2], "<"),
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["svm", "knn", "dummy"]
    assert words(ax) == ["0.900", "0.820", "0.100"]


def test_a_confusion_matrix_is_shaded_by_the_root_of_the_part_of_the_true_class():
    _, ax = plots.figure(4, 4)
    plots.confusion_matrix(ax, np.array([[3, 1], [0, 0]]), ["ants", "bees"], "Test: 3 of 4 right")
    np.testing.assert_array_equal(ax.images[0].get_array()[..., 3], [[221, 128], [0, 0]])
    assert words(ax)[:4] == ["3", "1", "0", "0"]
    assert words(ax)[4:] == ["ants", "bees", "ants", "bees"]
    assert ax.get_title(loc="left") == "Test: 3 of 4 right"


@pytest.mark.parametrize(("classes", "counts", "names"), [(12, 144, 24), (60, 0, 120), (200, 0, 134)])
def test_a_confusion_matrix_of_many_classes_stays_readable(classes, counts, names):
    _, ax = plots.figure(9, 9)
    plots.confusion_matrix(ax, np.eye(classes, dtype=int), [f"class {i}" for i in range(classes)], "Test")
    written = words(ax)
    assert sum(text.isdigit() for text in written) == counts
    assert sum(text.startswith("class") for text in written) == names


@pytest.mark.parametrize(
    ("label", "drawn"),
    [
        ("roses", "roses"),
        ("costs $5 to $9", r"costs \$5 to \$9"),
        ("line\nbreak\tand\x00more", "line break and more"),
        ("\u202eoverride", "override"),
        ("a" * 12 + "-" * 50 + "z" * 11, "a" * 12 + "…" + "z" * 11),
    ],
)
def test_a_label_is_drawn_as_plain_words(label, drawn):
    assert plots.plain(label) == drawn


def label_on_a_plot(label, name="plot"):
    drawn, ax = plots.figure(4, 2)
    plots.class_histogram(ax, np.array([[7, 14], [1, 3], [2, 4]]), [label, "bees"], ["train", "val", "test"])
    return plots.to_svg(drawn, name)


@pytest.mark.parametrize("label", ["$x^2$", "<b>&amp;</b>", "🌻", "玫瑰花", "ورد", 'fill="#ffffff"', "<!-- -->", "--"])
def test_an_svg_holds_any_label_as_it_is_and_is_well_formed(label):
    root = ElementTree.fromstring(label_on_a_plot(label))
    assert label in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_glyph_that_no_font_has_is_no_warning_and_filters_are_left_as_they_were():
    before = list(warnings.filters)
    drawn, ax = plots.figure(4, 2)
    plots.confusion_matrix(ax, np.eye(2, dtype=int), ["\U0002f9f4", "玫瑰"], "Test")
    assert plots.to_png(drawn).startswith(b"\x89PNG")
    assert warnings.filters == before


def test_an_svg_is_the_same_each_time_and_shares_no_id_with_another():
    first = matrix_svg("first")
    assert first == matrix_svg("first")
    ids = [set(ElementTree.fromstring(text).iter()) for text in (first, matrix_svg("second"))]
    first_ids, second_ids = ({node.get("id") for node in nodes} - {None} for nodes in ids)
    assert first_ids
    assert not first_ids & second_ids


def matrix_svg(name):
    drawn, ax = plots.figure(4, 4)
    plots.confusion_matrix(ax, np.array([[3, 1], [1, 3]]), ["ants", "bees"], "Test")
    return plots.to_svg(drawn, name)


def test_every_colour_of_an_inline_svg_is_a_variable_of_the_page():
    label = "#1b1f24 is ink"
    text = svg.inline(label_on_a_plot(label), plots.VARIABLES, 'Bars of "all" <classes>')
    assert "fill: var(--train)" in text
    assert re.findall("#[0-9a-f]{6}", text) == ["#1b1f24"], "the one in the label"
    assert label in text
    assert text.startswith('<svg role="img" aria-label="Bars of &quot;all&quot; &lt;classes&gt;" ')
    assert "<style" not in text


def test_light_colours_differ_so_that_each_has_its_own_variable():
    assert len(plots.VARIABLES) == len(plots.PALETTE)
