"""Messages on the terminal."""

from __future__ import annotations

import json

import pytest

from winnow.commands import console


def test_names_cannot_control_the_terminal() -> None:
    assert console.printable("a\nb\x1b[31m\u202e\udce9") == "a\\nb\\x1b[31m\\u202e\\udce9"
    assert console.printable("Blüte 🌻") == "Blüte 🌻"


def test_without_a_terminal_the_answer_is_no() -> None:
    assert console.confirm("Store 6 GB?") is False


def test_a_json_document_is_written_completely(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    console.print_json({"label": "Blüte", "score": 0.5})
    assert json.loads(capsysbinary.readouterr().out) == {"label": "Blüte", "score": 0.5}
