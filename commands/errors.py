"""What a person can correct becomes one line on stderr and exit code 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from winnow.commands.console import printable
from winnow.commands.remedies import with_remedy
from winnow.common.errors import InputError

NOT_RESUMABLE = ("predict", "evaluate", "tune")  # an interrupted one starts again from the beginning


@contextmanager
def one_line_errors(ctx: click.Context) -> Iterator[None]:
    """Turn exceptions that a person can correct into click's, which are printed as `Error: FACT: REMEDY`."""
    try:
        yield
    except InputError as error:
        raise click.ClickException(printable(with_remedy(error))) from None
    except KeyboardInterrupt:
        resumable = ctx.invoked_subcommand not in NOT_RESUMABLE
        progress = "; what was done is kept: run the same command to go on" if resumable else ""
        raise click.ClickException(f"interrupted{progress}") from None
    except OSError as error:
        if error.errno is None or isinstance(error, BrokenPipeError):
            raise
        file = f"{printable(str(error.filename))}: " if error.filename else ""
        raise click.ClickException(f"{file}{error.strerror}: correct that and run the same command again") from None
