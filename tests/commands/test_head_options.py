"""Options of heads: names and defaults are those of the classes."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from winnow.commands import head_options
from winnow.commands.groups import command


@pytest.mark.slow
def test_defaults_in_the_help_are_those_of_the_heads() -> None:
    from winnow.heads.evaluation.fit import HeadSpec, build

    actual: dict[str, dict[str, Any]] = {name: {} for name in head_options.DEFAULTS}
    for kind in ("dense", "finetune", "triplet", "supcon"):
        params = build(HeadSpec(kind, kind, {}), 0).get_params()
        for name in actual:
            if name in params:
                actual[name][kind] = params[name]
    assert actual == head_options.DEFAULTS


def test_a_default_is_shown_with_the_heads_that_have_it() -> None:
    assert head_options.default_text("lr") == "0.01 (dense, finetune), 0.03 (triplet, supcon)"
    assert head_options.default_text("hidden") == "128 (dense, triplet, supcon)"
    assert head_options.default_text("nesterov") == "off (dense)"
    assert head_options.default_text("patience") == "no early stopping (dense)"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--lr", "0.1", "--no-nesterov"], {"lr": 0.1, "nesterov": False}),
        (["--hidden", "256,64"], {"hidden": (256, 64)}),
        (["--hidden", ""], {"hidden": ()}),
        (["--set", "C=0.1", "--set", "kernel=rbf"], {"C": 0.1, "kernel": "rbf"}),
        (["--lr", "0.1", "--set", "lr=0.2"], {"lr": 0.2}),
    ],
)
def test_parameters_are_those_that_were_typed(arguments: list[str], expected: dict[str, Any]) -> None:
    received: list[dict[str, Any]] = []

    @command()
    @head_options.params
    def fit(params: dict[str, Any]) -> None:
        received.append(params)

    done = CliRunner().invoke(fit, arguments)
    assert done.exit_code == 0, done.output
    assert received == [expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--hidden", "many"], "takes numbers of units"), (["--set", "C"], "'C' is not NAME=VALUE, as C=0.1")],
)
def test_what_cannot_be_read_is_explained(arguments: list[str], message: str) -> None:
    @command()
    @head_options.params
    def fit(params: dict[str, Any]) -> None:
        raise AssertionError

    done = CliRunner().invoke(fit, arguments)
    assert done.exit_code == 2
    assert message in done.stderr
