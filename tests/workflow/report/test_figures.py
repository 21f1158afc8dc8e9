"""Which figures a run has, and how large a part of an axis they show."""

from __future__ import annotations

import pytest
from support.report import HISTORY, document, head

from winnow.workflow.report.figures import f1_axis_limits, run_figures, slugs


@pytest.mark.parametrize(("mean", "expected"), [(1.0, (0.95, 1.0)), (0.0, (0.0, 0.05))])
def test_the_axis_of_weighted_f1_stays_between_zero_and_one(mean, expected):
    assert f1_axis_limits([{"weighted_f1": {"mean": mean, "low": mean, "high": mean}}]) == expected


def test_names_of_heads_become_unique_names_of_files():
    names = ["Dense (lr=0.1)", "dense lr 0.1", "dense", "頭", "../..", "dense-2", "dense"]
    assert slugs(names) == ["dense-lr-0.1", "dense-lr-0.1-2", "dense", "head", "head-2", "dense-2", "dense-3"]


@pytest.mark.slow
def test_rates_that_change_over_the_epochs_are_drawn_below_the_loss():
    def figures(**rates):
        run = document(heads=[head("dense", 0.9, history=HISTORY | rates)])
        return {each.name: each for each in run_figures(run)}

    both = figures(lr=[0.1, 0.05], momentum=[0.9, 0.9])
    loss = both["dense-loss"]
    assert loss.description == "Loss of dense over 2 epochs, with learning rate"
    upper, lower = loss.figure.axes
    assert (upper.get_xlabel(), lower.get_xlabel()) == ("", "epoch")
    assert list(lower.lines[0].get_ydata()) == [0.1, 0.05]
    assert len(both["dense-accuracy"].figure.axes) == 1
    loss = figures(lr=[0.1, 0.1], momentum=[0.9, 0.5])["dense-loss"]
    assert loss.description == "Loss of dense over 2 epochs, with momentum"
    loss = figures(lr=[0.1, 0.1], momentum=[0.9, 0.9])["dense-loss"]
    assert loss.description == "Loss of dense over 2 epochs"
    assert len(loss.figure.axes) == 1
