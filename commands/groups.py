"""How the help is laid out: commands in groups by stage of the pipeline, the options of a long command in sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from winnow.commands.console import message
from winnow.commands.deprecated import replace_old_spellings
from winnow.commands.errors import one_line_errors

SECTIONS = ("Data", "Head", "Training", "Embedding", "Splits", "Review", "Output")  # of options, in this order
MOST_UNSECTIONED = 10  # options of a command that are listed without sections
WHOLE = 1000  # characters; large, so that click does not truncate the first sentence of a command's help


class CommandGroups(click.Group):
    """A group whose help lists its commands under titles, and whose errors are one line each."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.groups: dict[str, list[str]] = {}

    def add_group(self, title: str, commands: Iterable[click.Command]) -> None:
        """Add commands, which are listed in this order under a title."""
        for command in commands:
            self.add_command(command)
            self.groups.setdefault(title, []).append(str(command.name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section of the help for each group: names and first sentences."""
        for title, names in self.groups.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(WHOLE)) for name in names])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; click prints its own exceptions as one line on stderr."""
        with one_line_errors(ctx):
            return super().invoke(ctx)


class Option(click.Option):
    """An option that belongs to a section of the help.

    section: one of `SECTIONS`. default_text: the default that the help shows where the program has None, such as
    "one per processor".
    """

    def __init__(self, *args: Any, section: str, default_text: str | None = None, **settings: Any) -> None:
        self.section = section
        self.default_text = default_text
        has_default = settings.get("default") is not None and not settings.get("is_flag")
        settings.setdefault("show_default", default_text or has_default)
        super().__init__(*args, **settings)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and its help; click would put parentheses around `default_text`."""
        record = super().get_help_record(ctx)
        if record is None or self.default_text is None:
            return record
        return record[0], record[1].replace(f"default: ({self.default_text})", f"default: {self.default_text}")


class Command(click.Command):
    """A command whose options are listed in sections when there are many, and that still takes old spellings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, old spellings replaced by new ones."""
        updated, notes = replace_old_spellings(args, {name for param in self.params for name in param.opts})
        for note in [] if ctx.resilient_parsing else notes:
            message(note)
        return super().parse_args(ctx, updated)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options: one list, or one for each section."""
        records: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                records[getattr(parameter, "section", SECTIONS[-1])].append(record)
        if sum(map(len, records.values())) <= MOST_UNSECTIONED:
            records = {"Options": [record for section in records.values() for record in section]}
        for title, section in records.items():
            if section:
                with formatter.section(title):
                    formatter.write_dl(section)


def command() -> Callable[[Callable[..., Any]], Command]:
    """Decorator that makes a function a `Command`."""
    return click.command(cls=Command)
