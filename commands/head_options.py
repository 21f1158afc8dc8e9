"""The options that choose a head and set its parameters."""

from __future__ import annotations

import ast
from typing import Any

import click

from winnow.commands.options import option, passed_as
from winnow.heads.kinds import CALIBRATIONS, HEADS, MONITORS, ONLY_NAMED, SCHEDULES

# Parameter -> head -> its default. A test compares with the classes of the heads, which take seconds to import.
DEFAULTS: dict[str, dict[str, Any]] = {
    "lr": {"dense": 0.01, "finetune": 0.01, "triplet": 0.03, "supcon": 0.03},
    "momentum": {"dense": 0.0, "finetune": 0.9, "triplet": 0.9, "supcon": 0.9},
    "nesterov": {"dense": False},
    "epochs": {"dense": 100, "finetune": 16, "triplet": 20, "supcon": 20},
    "batch_size": {"dense": 32, "finetune": 32, "triplet": 128, "supcon": 128},
    "hidden": {"dense": (128,), "triplet": (128,), "supcon": (128,)},
    "l2": {"dense": 0.0, "triplet": 0.001, "supcon": 0.001},
    "dropout": {"dense": 0.0},
    "monitor": {"dense": "loss"},
    "schedule": {"dense": "constant"},
    "warmup": {"dense": 0},
    "factor": {"dense": 0.1},
    "step_size": {"dense": None},
    "momentum_end": {"dense": None},
    "patience": {"dense": None},
    "unfreeze": {"finetune": 6},
}
_WITHOUT = {  # what a head does when the parameter is None
    "step_size": "a third of the epochs; plateau: a tenth",
    "momentum_end": "as --momentum; one-cycle: 0.1 less",
    "patience": "no early stopping",
}


def default_text(parameter: str) -> str:
    """The defaults of a parameter for the help, such as "0.01 (dense, finetune), 0.03 (triplet, supcon)"."""
    heads: dict[str, list[str]] = {}
    for head, value in DEFAULTS[parameter].items():
        heads.setdefault(_WITHOUT[parameter] if value is None else _typed(value), []).append(head)
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in heads.items())


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return (
        ",".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _units(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(units) for units in value.split(",") if units.strip())
    except ValueError:
        raise click.BadParameter("takes numbers of units, as 128 or 256,64; an empty text for none") from None


def _pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    pairs = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE, as C=0.1")
        try:
            pairs[name.strip()] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            pairs[name.strip()] = text
    return pairs


def _params(set_: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The parameters that were typed; --set comes last."""
    return {name: value for name, value in values.items() if value is not None} | set_


def _parameter(section: str, name: str, **settings: Any) -> Any:
    """An option of which the help shows the defaults of the heads that have it."""
    return option(section, name, default_text=default_text(name.split("/")[0][2:].replace("-", "_")), **settings)


heads = option(
    "Head",
    "--heads",
    metavar="NAME,NAME…",
    default_text=f"all but {', '.join(ONLY_NAMED)}",
    help=f"Heads to compare, out of {', '.join(HEADS)}.",
)
kind = option(
    "Head",
    "--head",
    "kind",
    metavar="NAME",
    type=click.Choice(HEADS),
    required=True,
    help=f"Kind of head: {', '.join(HEADS[:-1])} or {HEADS[-1]}.",
)
params = passed_as(
    "params",
    _params,
    _parameter(
        "Head",
        "--unfreeze",
        type=click.IntRange(1, 16),
        help="Number of MobileNetV2's 17 blocks, counted from its end, that are trained together with its last "
        "convolution.",
    ),
    _parameter("Head", "--hidden", callback=_units, metavar="UNITS[,UNITS]", help="Units of each hidden layer."),
    _parameter(
        "Head",
        "--dropout",
        type=click.FloatRange(0, 1, max_open=True),
        help="Share of the units of each hidden layer that is dropped in training.",
    ),
    option(
        "Head",
        "--class-weight",
        type=click.Choice(["balanced"]),
        default_text="none",
        help="balanced: all classes count alike, whatever their size (dense, logistic, svm-linear, svm-rbf, lda, "
        "forest).",
    ),
    option(
        "Head",
        "--calibration",
        type=click.Choice(CALIBRATIONS),
        default_text="sigmoid (svm-linear, svm-rbf, lda), none (others)",
        help="How scores become probabilities. For dense, none or temperature.",
    ),
    option(
        "Head",
        "--set",
        "set_",
        multiple=True,
        callback=_pairs,
        metavar="NAME=VALUE",
        help="Set any parameter of the head, as in C=0.1. It may be repeated.",
    ),
    _parameter("Training", "--lr", type=click.FloatRange(0, min_open=True), help="Learning rate of SGD."),
    _parameter("Training", "--momentum", type=click.FloatRange(0, 1), help="Momentum of SGD."),
    _parameter("Training", "--nesterov/--no-nesterov", default=None, help="Use Nesterov's momentum."),
    _parameter("Training", "--epochs", type=click.IntRange(min=1), help="Passes over the training images."),
    _parameter("Training", "--batch-size", type=click.IntRange(min=1), help="Images per step."),
    _parameter("Training", "--l2", type=click.FloatRange(0), help="Weight decay."),
    _parameter(
        "Training",
        "--schedule",
        type=click.Choice(SCHEDULES),
        help="How the learning rate changes during training.",
    ),
    _parameter(
        "Training",
        "--warmup",
        type=click.IntRange(min=0),
        help="Number of first epochs in which the learning rate rises to --lr.",
    ),
    _parameter(
        "Training",
        "--factor",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Factor by which the schedules step, exponential and plateau multiply the learning rate.",
    ),
    _parameter(
        "Training",
        "--step-size",
        type=click.IntRange(min=1),
        help="Number of epochs between these multiplications. For plateau, number of epochs without improvement before "
        "one.",
    ),
    _parameter(
        "Training",
        "--momentum-end",
        type=click.FloatRange(0, 1, max_open=True),
        help="Momentum at the end of training (Demon). For one-cycle, its lowest value.",
    ),
    _parameter(
        "Training",
        "--monitor",
        type=click.Choice(MONITORS),
        help="Validation score by which the best epoch is kept.",
    ),
    _parameter(
        "Training",
        "--patience",
        type=click.IntRange(min=1),
        help="Number of epochs without improvement after which training stops.",
    ),
)
