"""What to type when a command cannot do its work: the advice that follows the fact in an error."""

from __future__ import annotations

from winnow.common.errors import InputError

# `InputError.remedy` -> what to do, with `InputError.details` filled in.
REMEDIES: dict[str, str] = {
    "scan": "run `winnow scan` first",
    "unreadable": "`winnow scan` lists what is wrong",
    "embed": "run `winnow embed` first",
    "score": "run `winnow score` first",
    "workspace": "use --workspace to put it elsewhere",
}


def with_remedy(error: InputError) -> str:
    """The message of an error and, where there is one, what to type: `MESSAGE: REMEDY`."""
    if error.remedy is None:
        return str(error)
    return f"{error}: {REMEDIES[error.remedy].format(**error.details)}"
