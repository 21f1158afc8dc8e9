"""Commands as a person types them, run in this process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from winnow import cli


def winnow(*arguments: object, stdin: bytes | str = "") -> Result:
    """Run a command, whether it succeeds or not."""
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments], input=stdin)


def winnow_json(*arguments: object) -> Any:
    """The JSON document of a command that succeeds."""
    result = winnow(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def winnow_error(*arguments: object, exit_code: int = 1) -> str:
    """The one error line of a command that fails."""
    result = winnow(*arguments)
    assert result.exit_code == exit_code, result.output
    assert isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1
    return lines[0]
