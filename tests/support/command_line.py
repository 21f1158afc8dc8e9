"""Commands as a person types them."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from winnow import cli


def winnow(*words: object, stdin: bytes | str = "") -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(cli.main, [str(word) for word in words], input=stdin)


def winnow_json(*words: object) -> Any:
    """The JSON document of a command that succeeds."""
    result = winnow(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
