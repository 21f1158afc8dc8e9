"""Figures as files: any label in them stays text, and equal figures give equal files."""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from winnow.workflow.report import figure_files, plots


def label_on_a_plot(label, name="plot"):
    figure, ax = plots.new_figure(4, 2)
    plots.class_histogram(ax, np.array([[7, 14], [1, 3], [2, 4]]), [label, "bees"], ["train", "val", "test"])
    return figure_files.to_svg(figure, name)


@pytest.mark.parametrize("label", ["$x^2$", "<b>&amp;</b>", "🌻", "玫瑰花", "ورد", 'fill="#ffffff"', "<!-- -->", "--"])
def test_an_svg_holds_any_label_as_it_is_and_is_well_formed(label):
    root = ElementTree.fromstring(label_on_a_plot(label))
    assert label in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_glyph_that_no_font_has_causes_no_warning_and_leaves_the_filters_unchanged():
    before = list(warnings.filters)
    figure, ax = plots.new_figure(4, 2)
    plots.confusion_matrix(ax, np.eye(2, dtype=int), ["\U0002f9f4", "玫瑰"], "Test")
    assert figure_files.to_png(figure).startswith(b"\x89PNG")
    assert warnings.filters == before


def test_an_svg_is_the_same_each_time_and_shares_no_id_with_another():
    first = matrix_svg("first")
    assert first == matrix_svg("first")
    ids = [set(ElementTree.fromstring(text).iter()) for text in (first, matrix_svg("second"))]
    first_ids, second_ids = ({node.get("id") for node in nodes} - {None} for nodes in ids)
    assert first_ids
    assert not first_ids & second_ids


def matrix_svg(name):
    figure, ax = plots.new_figure(4, 4)
    plots.confusion_matrix(ax, np.array([[3, 1], [1, 3]]), ["ants", "bees"], "Test")
    return figure_files.to_svg(figure, name)


def test_every_colour_of_an_inline_svg_is_a_variable_of_the_page():
    label = "#1b1f24 is ink"
    text = figure_files.inline_svg(label_on_a_plot(label), 'Bars of "all" <classes>')
    assert "fill: var(--train)" in text
    assert re.findall("#[0-9a-f]{6}", text) == ["#1b1f24"], "the one in the label"
    assert label in text
    assert text.startswith('<svg role="img" aria-label="Bars of &quot;all&quot; &lt;classes&gt;" ')
    assert "<style" not in text
