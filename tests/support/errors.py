"""Checks of errors that are meant for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from winnow.commands.remedies import with_remedy
from winnow.common.errors import InputError


@contextmanager
def input_error(match: str, remedy: str | None = None) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """Expect an InputError whose message matches a regular expression, with this remedy and all of its details."""
    with pytest.raises(InputError, match=match) as caught:
        yield caught
    assert caught.value.remedy == remedy
    assert with_remedy(caught.value).startswith(str(caught.value))
