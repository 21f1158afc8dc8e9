"""The one exception that is meant for the person at the keyboard."""

from __future__ import annotations


class InputError(Exception):
    """Something the user can mend: one line that says where, what was expected, what came, and what to do next.

    The library raises it; `cli.py` turns it into that line on stderr and exit code 1.
    """
