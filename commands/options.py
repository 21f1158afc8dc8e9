"""Options that several commands share, each set one decorator. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from winnow.commands.groups import Option

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
LABEL_RULES = ("folder", "parent")  # --labels takes these or a file


def option(section: str, *names: str, **settings: Any) -> Decorator:
    """A click option that is listed in a section of the help. `settings` are passed to `groups.Option`."""
    if isinstance(settings.get("type"), click.types.IntParamType):
        settings.setdefault("metavar", "N")
    elif isinstance(settings.get("type"), click.types.FloatParamType):
        settings.setdefault("metavar", "X")
    return click.option(*names, cls=Option, section=section, **settings)


def in_order(*decorators: Decorator) -> Decorator:
    """One decorator that adds options in the order in which the help lists them."""
    return lambda command: functools.reduce(lambda inner, decorate: decorate(inner), reversed(decorators), command)


def passed_as(argument: str, build: Callable[..., Any], *decorators: Decorator) -> Decorator:
    """Options that the command receives as one argument, an object that `build` makes from their values.

    Parameters: `argument`, its name. `build` is called with the values by the names of the options.
    """

    def decorate(command: Command) -> Command:
        names: list[str] = []

        @functools.wraps(command)
        def wrapper(**values: Any) -> Any:
            return command(**{argument: build(**{name: values.pop(name) for name in names})}, **values)

        earlier = len(getattr(wrapper, "__click_params__", []))
        decorated = in_order(*decorators)(wrapper)
        names += [parameter.name for parameter in decorated.__click_params__[earlier:]]  # type: ignore[attr-defined]
        return decorated

    return decorate


workspace = option(
    "Data",
    "--workspace",
    type=FOLDER,
    default_text="NAME.winnow in the current folder",
    help="Folder where results are stored.",
)
json = option("Output", "--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
images = in_order(click.argument("images", required=False, type=click.Path(path_type=Path)), workspace, json)
as_found = option(
    "Data", "--as-found", is_flag=True, help="Use the folder as it is, without the verdicts recorded so far."
)
workers = option(
    "Data",
    "--workers",
    type=click.IntRange(min=1),
    default_text="one per processor",
    help="Number of threads that decode images.",
)
repeats = option("Splits", "--repeats", type=click.IntRange(1, 1000), default=10, help="Number of random splits.")
jobs = option(
    "Training",
    "--jobs",
    type=click.IntRange(min=1),
    default_text="one per processor",
    help="Number of fits that run at the same time.",
)
port = option(
    "Review",
    "--port",
    type=click.IntRange(1, 65535),
    default_text="5151, or the next free one",
    help="Port of the App on this computer.",
)
browser = option(
    "Review", "--browser/--no-browser", default=True, help="Open the App in a browser, or only print its address."
)


def _dataset(**values: Any) -> Any:
    from winnow.workflow.experiment import DatasetOptions

    return DatasetOptions(**values)


_DATASET = (
    option("Splits", "--seed", type=int, metavar="N", default=0, help="Random seed for the splits and for training."),
    option(
        "Splits",
        "--group-by",
        metavar="FILE.csv|REGEX",
        help="Keep images that belong together (a burst, a product, a camera) in one part of each split: a CSV file "
        "with the columns path and group, or a regular expression whose first group, matched in the path, names them.",
    ),
    as_found,
)
dataset = passed_as("dataset", _dataset, *_DATASET)
repeated_dataset = passed_as("dataset", _dataset, repeats, *_DATASET)
searched_dataset = passed_as(
    "dataset",
    _dataset,
    option(
        "Splits",
        "--repeats",
        type=click.IntRange(1, 1000),
        default=5,
        help="Number of random splits, each with a search of its own.",
    ),
    *_DATASET,
)


def label_rule(labels: str) -> str:
    """The value of --labels, with a file as an absolute path."""
    return labels if labels in LABEL_RULES else str(Path(labels).expanduser().resolve())


def retype(other: click.Command, extra: Sequence[str] = (), without: Sequence[str] = ()) -> str:
    """The command line of another command with the options that were typed for this one, as far as it has them.

    Parameters: `extra`, words to add at the end; `without`, names of parameters to leave out.
    """
    context = click.get_current_context()
    known = {parameter.name for parameter in other.params} - {"as_json", *without}
    words = ["winnow", str(other.name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in known and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            value = str(context.params[name])
            if isinstance(parameter, click.Argument):
                words.append(f"./{value}" if value.startswith("-") else value)
            else:
                words += parameter.opts[:1] if getattr(parameter, "is_flag", False) else [parameter.opts[0], value]
    return shlex.join([*words, *extra])
