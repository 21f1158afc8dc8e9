"""The options of an export."""

import pytest

from winnow.common.errors import InputError
from winnow.deploy.source import ExportOptions


@pytest.mark.parametrize(
    ("options", "suffix", "is_exact"),
    [
        (ExportOptions(), "", True),
        (ExportOptions(tta="flip"), "-flip", True),
        (ExportOptions(any_size=True, precision="fp16"), "-any-fp16", False),
        (ExportOptions(precision="int8", tta="none"), "-int8-none", False),
    ],
)
def test_the_suffix_names_the_options_that_were_given(options, suffix, is_exact):
    assert (options.suffix, options.is_exact) == (suffix, is_exact)


@pytest.mark.parametrize("share", [-0.1, 0.51, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(InputError, match="the share called unfamiliar is from 0 to 0.5, not"):
        ExportOptions(unfamiliar=share)
