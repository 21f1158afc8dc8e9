"""Commands as a person types them, run in this process or in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from click.testing import CliRunner, Result
from support.project import PACKAGE

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


def start_winnow(*arguments: object, **settings: Any) -> subprocess.Popen[str]:
    """Start a command in a new process. Parameters: `settings`, of `Popen`; the standard streams are text in pipes."""
    # A shell that runs the tests in the background lets new processes ignore Ctrl-C: restore its handler.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom winnow.cli import main; main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": PACKAGE}, text=True, **settings)
