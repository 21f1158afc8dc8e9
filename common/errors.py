"""The one exception that is meant for the person who uses Winnow."""

from __future__ import annotations


class InputError(Exception):
    """Something that the user can correct: one line that says where, what was expected and what came instead.

    The message states the fact, for callers from Python and from the command line alike. What to type next is added by
    `commands.remedies`: it is looked up under `remedy` and filled in with `details`.

    Parameters
    ----------
    message : str
        The fact, one line without a full stop at its end.
    remedy : str or None, default=None
        A key of `commands.remedies.REMEDIES`; None where the message already says all there is to do.
    **details : object
        What the text of the remedy names, such as ``run="runs/20260101-120000-train-lda"``.
    """

    def __init__(self, message: str, remedy: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.details = details
