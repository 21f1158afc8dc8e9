"""The layout of the help: groups of commands, sections of options, defaults."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

import click
import pytest
from click.testing import CliRunner

from winnow import cli
from winnow.commands import groups, options

COMMANDS = sorted(cli.main.commands)
LONGEST_BODY = 20  # lines: parse, call, print
# Left out, these have no effect.
WITHOUT_DEFAULT = {"--backbone", "--grid", "--group-by", "--set", "--from", "--relabel", "--off-topic-above", "--csv"}
WITHOUT_DEFAULT |= {"--report", "--sort-into", "--into"}


def help_of(*arguments: str, width: int = 80) -> str:
    return CliRunner().invoke(cli.main, [*arguments, "--help"], terminal_width=width, max_content_width=width).output


def test_commands_are_listed_in_groups() -> None:
    text = help_of()
    places = [text.index(f"\n{title}:\n") for title in ("Start here", "Curate", "Embed", "Heads", "Deploy")]
    assert places == sorted(places)
    assert text.index("Curate:") < text.index("  scan ") < text.index("Embed:")


def test_every_command_is_in_one_group() -> None:
    assert sorted(name for names in cli.main.groups.values() for name in names) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_one_sentence_on_one_line_of_80_columns(name: str) -> None:
    summary = textwrap.dedent(str(cli.main.commands[name].help)).split("\n\n")[0]
    assert re.fullmatch(r"[A-Z][^.]*(\.onnx)?\.", summary), summary
    (line,) = (line for line in help_of().splitlines() if line.startswith(f"  {name} "))
    assert line.split(maxsplit=1)[1] == summary


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_in_sentences_and_shows_its_default(name: str) -> None:
    command = cli.main.commands[name]
    with click.Context(command) as context:
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if isinstance(parameter, click.Argument) or record is None:
                continue
            assert isinstance(parameter, groups.Option)
            assert parameter.section in groups.SECTIONS
            sentences, _, extra = record[1].partition("  [")
            assert re.match(r"[A-Z]|\w+: |imagenet", sentences), record
            assert sentences.endswith("."), record
            is_switch = parameter.is_flag and not parameter.secondary_opts
            if not (is_switch or parameter.required or parameter.opts[-1] in WITHOUT_DEFAULT):
                assert "default: " in extra, record


def test_options_of_a_long_command_are_in_sections() -> None:
    lines = help_of("train").splitlines()
    titles = [line.removesuffix(":") for line in lines if re.fullmatch(r"[A-Z]\w+:", line)]
    assert titles == ["Data", "Head", "Training", "Embedding", "Splits", "Output"]
    assert "Options:" not in help_of("train")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_fits_80_columns(name: str) -> None:
    assert max(map(len, help_of(name).splitlines())) <= 80


def test_options_of_a_short_command_are_one_list() -> None:
    assert re.findall(r"^([A-Z]\w+):$", help_of("status"), re.MULTILINE) == ["Options"]


def test_a_default_that_depends_is_shown_without_parentheses() -> None:
    @click.command(cls=groups.Command)
    @options.option("Data", "--size", type=click.IntRange(min=1), default_text="as in the run", help="Side.")
    def resize(size: int | None) -> None:
        pass

    text = CliRunner().invoke(resize, ["--help"]).output
    assert "--size N  Side.  [default: as in the run; x>=1]" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_body_of_a_command_is_short(name: str) -> None:
    function = inspect.unwrap(cli.main.commands[name].callback)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    body = tree.body[1:]  # without the docstring
    assert body[-1].end_lineno - body[0].lineno < LONGEST_BODY
