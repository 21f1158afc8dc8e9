from __future__ import annotations

import pytest

from winnow.heads.kinds import CALIBRATIONS, DEFAULT_HEADS, HEADS, MONITORS, ONLY_NAMED, SCHEDULES, current_kind


def test_every_kind_can_be_built():
    from winnow.heads.evaluation.fit import HeadSpec, build

    assert len(HEADS) == len(DEFAULT_HEADS) + len(ONLY_NAMED) == 13
    for kind in HEADS:
        assert hasattr(build(HeadSpec(kind, kind), seed=0), "fit")


def test_the_choices_are_those_of_the_models():
    from winnow.heads.models import baselines, dense_training, schedules

    assert tuple(baselines.CALIBRATIONS) == CALIBRATIONS
    assert tuple(schedules.SCHEDULES) == SCHEDULES
    assert tuple(dense_training.MONITORED) == MONITORS
    assert {*baselines.BASELINES, "dense", "finetune"} == set(HEADS)


@pytest.mark.parametrize(("former", "current"), [("tail", "finetune"), ("finetune", "finetune"), ("svm", "svm")])
def test_a_kind_of_version_0_1_0_has_a_current_name(former, current):
    assert current_kind(former) == current
