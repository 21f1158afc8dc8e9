"""Options that several commands share, each set one decorator. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from winnow.embed.recipe import ALPHAS, POOLS, PRECISIONS, RESIZES, SCALES, SIZES, Recipe

Command = Callable[..., Any]
DEFAULT_HEADS = ("dense", "dummy", "centroid", "knn", "logistic", "svm-linear", "svm-rbf", "lda", "forest", "mlp")
ONLY_NAMED = ("triplet", "supcon", "finetune")
HEADS = (*DEFAULT_HEADS, *ONLY_NAMED)
SCHEDULES = ("constant", "step", "exponential", "cosine", "plateau", "one-cycle")
CALIBRATIONS = ("none", "sigmoid", "isotonic", "temperature")
BACKENDS = ("onnx", "tensorflow")
TTA = ("none", "flip", "mean")
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """click's option, which tells its default unless that is None or a flag's."""
    settings.setdefault("show_default", settings.get("default") is not None and not settings.get("is_flag"))
    return click.option(*names, **settings)


def _all(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """One decorator out of several, in the order in which their options stand in the help."""
    return lambda command: functools.reduce(lambda made, decorate: decorate(made), reversed(decorators), command)


def _gathered(
    name: str, build: Callable[..., Any], *decorators: Callable[[Command], Command]
) -> Callable[..., Command]:
    """Options that the command gets as one argument `name`, built from their values."""

    def decorate(command: Command) -> Command:
        ours: list[str] = []

        @functools.wraps(command)
        def wrapped(**values: Any) -> Any:
            return command(**{name: build(**{key: values.pop(key) for key in ours})}, **values)

        before = len(getattr(wrapped, "__click_params__", []))
        made = _all(*decorators)(wrapped)
        ours += [parameter.name for parameter in made.__click_params__[before:]]  # type: ignore[attr-defined]
        return made

    return decorate


workspace = option(
    "--workspace", type=FOLDER, help="Where results are kept, instead of NAME.winnow in the current folder."
)
json = option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
images = _all(click.argument("images", required=False, type=click.Path(path_type=Path)), workspace, json)
workers = option("--workers", type=click.IntRange(min=1), help="Threads that decode.  [default: one a processor]")
heads = option(
    "--heads",
    metavar="NAME,NAME…",
    help=f"Among {' '.join(HEADS)}.  [default: all but {', '.join(ONLY_NAMED)}]",
)
repeats = option("--repeats", type=click.IntRange(1, 1000), default=10, help="Splits that every head is tried on.")
jobs = option("--jobs", type=click.IntRange(min=1), help="Fits at a time.  [default: one a processor]")

_NOT_RECIPE = ("backbone", "backend", "workers", "augment", "tta")


def _vectors(alpha: str, yes: bool, batch: int | None, **values: Any) -> Any:
    from winnow.commands.console import confirm
    from winnow.embed.config import EmbeddingConfig

    others = {name: values.pop(name) for name in _NOT_RECIPE if name in values}
    recipe = Recipe(alpha=float(alpha), **values)
    confirm_storage = (lambda _: True) if yes else confirm
    return EmbeddingConfig(recipe, batch_size=batch, confirm_storage=confirm_storage, **others)


_VECTORS = (
    option("--backend", type=click.Choice(BACKENDS), default="onnx", help="What runs the network."),
    option("--size", type=click.IntRange(*SIZES), default=224, help="Side of the square input in pixels."),
    option("--resize", type=click.Choice(RESIZES), default="crop", help="How a picture becomes square."),
    option(
        "--scale",
        type=click.Choice(SCALES),
        default="symmetric",
        help="symmetric: to [-1, 1], as the network was trained. none: 0-255 as they are: much worse vectors, only to "
        "reproduce results that were made so.",
    ),
    option("--alpha", type=click.Choice([str(alpha) for alpha in ALPHAS]), default="1.0", help="Width of MobileNetV2."),
    option(
        "--layer",
        default="out_relu",
        metavar="NAME[,NAME]",
        help="Which of Keras' layers gives the vectors; of several, the means side by side.",
    ),
    option("--pool", type=click.Choice(POOLS), default="avg", help="avg: the mean of the map. none: the map itself."),
    option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="fp32",
        help="int8: weights and arithmetic in 8 bits, calibrated once on your pictures; what it costs is measured.",
    ),
    option("--weights", default="imagenet", help="imagenet, random (untrained) or a Keras FILE.h5 or FILE.weights.h5."),
    option("--backbone", type=FILE, help="An exported FILE.onnx instead of --weights: no TensorFlow needed."),
    option(
        "--augment",
        metavar="K",
        type=click.IntRange(min=1),
        help="Rows of each picture: itself, its mirror image, and K - 2 seeded variations (crop, turn, light, colour), "
        "which heads learn from.  [default: 1, or as many as --tta takes; tail: 8]",
    ),
    option("--yes", is_flag=True, help="Store more than 5 GB of vectors without asking."),
    workers,
    option("--batch", type=click.IntRange(min=1), help="Pictures an inference.  [default: 1; tensorflow: 8]"),
)
vectors = _gathered("vectors", _vectors, *_VECTORS)
# The same for commands that train heads.
learned_vectors = _gathered(
    "vectors",
    _vectors,
    *_VECTORS,
    option(
        "--tta",
        type=click.Choice(TTA),
        default="none",
        help="What a picture is judged by: itself, the mean vector of it and its mirror image (of a tail, what is said "
        "of both in the mean), or what is said of all its views in the mean.",
    ),
)

as_found = option(
    "--as-found", is_flag=True, help="The folder as it lies, without the verdicts of `review`, `decide` and `prune`."
)


def _division(**values: Any) -> Any:
    from winnow.workflow.experiment import Division

    return Division(**values)


division = _gathered(
    "division",
    _division,
    option("--seed", type=int, default=0, help="Of the first split and of the heads."),
    option(
        "--group-by",
        metavar="FILE.csv|REGEX",
        help="Keep bursts, products or cameras on one side of a split: a CSV file (path,group), or a regular "
        "expression on paths whose first group names them.",
    ),
    as_found,
)


def _hidden(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(units) for units in value.split(",") if units.strip())
    except ValueError:
        raise click.BadParameter("takes numbers of units, as 128 or 256,64; an empty text for none") from None


def _pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    import ast

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


def _params(set_: dict[str, Any], **dense: Any) -> dict[str, Any]:
    return {name: value for name, value in dense.items() if value is not None} | set_


head = _gathered(
    "params",
    _params,
    option(
        "--unfreeze",
        metavar="N",
        type=click.IntRange(1, 16),
        help="tail: how much of the network learns, too: its last N blocks (of 17) and its last convolution. The rest "
        "runs once for each view.  [default: 6]",
    ),
    option("--lr", type=click.FloatRange(0, min_open=True), help="dense, tail: learning rate of SGD."),
    option(
        "--schedule",
        type=click.Choice(SCHEDULES),
        help="dense: how the learning rate changes while it trains.",
    ),
    option(
        "--warmup", type=click.IntRange(min=0), help="dense: epochs at first in which the learning rate rises to --lr."
    ),
    option(
        "--factor",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="dense: what the schedules step, exponential and plateau multiply the learning rate by.",
    ),
    option(
        "--step-size",
        type=click.IntRange(min=1),
        help="dense: epochs after which they multiply it; with plateau, epochs without a better one.",
    ),
    option("--momentum", type=click.FloatRange(0, 1), help="dense, tail: momentum of SGD."),
    option(
        "--momentum-end",
        type=click.FloatRange(0, 1, max_open=True),
        help="dense: where momentum goes while it trains (Demon); with one-cycle its lowest value.",
    ),
    option("--nesterov/--no-nesterov", default=None, help="dense: Nesterov's momentum."),
    option("--epochs", type=click.IntRange(min=1), help="dense, tail: passes over the training pictures."),
    option("--patience", type=click.IntRange(min=1), help="dense: epochs without a better one that end training."),
    option("--batch-size", type=click.IntRange(min=1), help="dense, tail: pictures in a step."),
    option("--hidden", callback=_hidden, metavar="UNITS[,UNITS]", help="dense: units of the hidden layers."),
    option("--dropout", type=click.FloatRange(0, 1, max_open=True), help="dense: share of units dropped."),
    option("--l2", type=click.FloatRange(0), help="dense: weight decay."),
    option(
        "--monitor", type=click.Choice(["loss", "accuracy", "weighted_f1"]), help="dense: what keeps the best epoch."
    ),
    option(
        "--class-weight",
        type=click.Choice(["balanced"]),
        help="dense logistic svm-linear svm-rbf lda forest: small classes count as much as large ones.",
    ),
    option(
        "--calibration",
        type=click.Choice(CALIBRATIONS),
        help="How scores become probabilities.  [default: sigmoid for svm-* and lda, else none; dense: none or "
        "temperature]",
    ),
    option("--set", "set_", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="Any parameter, as C=0.1."),
)


def as_typed(other: click.Command, words: Sequence[str] = (), without: Sequence[str] = ()) -> str:
    """The line for another command with what was typed for this one, as far as it takes it, and more words.

    Parameters: `without`, names of parameters that are left out.
    """
    context = click.get_current_context()
    taken = {parameter.name for parameter in other.params} - {"as_json", *without}
    line = ["winnow", str(other.name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in taken and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            value = str(context.params[name])
            if isinstance(parameter, click.Argument):
                line.append(f"./{value}" if value.startswith("-") else value)
            else:
                line += parameter.opts[:1] if getattr(parameter, "is_flag", False) else [parameter.opts[0], value]
    return shlex.join([*line, *words])
