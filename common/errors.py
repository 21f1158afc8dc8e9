"""The exception for problems that the user can correct."""

from __future__ import annotations


class InputError(Exception):
    """A problem that the user can correct: one line that says where it is, what was expected and what came instead.

    The message states the fact, for callers from Python and from the command line alike. What to type next is added by
    `commands.remedies`, which looks up `remedy` and fills in `details`.

    Parameters
    ----------
    message : str
        The fact: one line without a full stop at its end.
    remedy : str or None, default=None
        A key of `commands.remedies.REMEDIES`; None if the message needs no further advice.
    **details : object
        Values that the text of the remedy refers to, such as ``run="runs/20260101-120000-train-lda"``.
    """

    def __init__(self, message: str, remedy: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.details = details
