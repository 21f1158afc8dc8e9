"""Options that several commands share."""

from __future__ import annotations

import click
from click.testing import CliRunner

from winnow.commands import heads, options
from winnow.commands.embedding_options import embedding_and_tta


def test_the_line_for_another_command_has_what_was_typed_and_it_takes() -> None:
    @click.command()
    @options.images
    @options.repeats
    @embedding_and_tta
    def this(**_: object) -> None:
        arguments = ["--head", "finetune"]
        click.echo(options.retype(heads.train, arguments, without=("layer", "augment")))

    arguments = ["-photos", "--workspace", "a b", "--size", "288", "--augment", "4", "--layer", "x", "--repeats", "3"]
    result = CliRunner().invoke(this, ["--json", *arguments[1:], "--", arguments[0]])
    assert result.output == "winnow train ./-photos --workspace 'a b' --size 288 --head finetune\n"
