from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.fits import CLASSES, data

from winnow.heads.evaluation import fit_cache
from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import Fit, FitOptions, HeadSpec, Split, Task


@pytest.mark.slow
def test_a_file_with_a_flipped_bit_is_read_or_ignored(tmp_path):
    X, y, splits = data()
    compare([HeadSpec("c", "centroid")], Task(X, y, CLASSES), splits, FitOptions(cache=tmp_path))
    file = next(tmp_path.glob("*.npz"))
    whole = file.read_bytes()
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        assert isinstance(fit_cache.load(file), Fit | None)


def test_different_splits_have_different_digests():
    rows, task = np.arange(8), Task(np.empty((8, 1)), np.arange(8) % 2, ["a", "b"], "k")
    plain = Split(rows[:4], rows[4:6], rows[6:], rows)
    others = [
        replace(plain, second_test=rows[:2]),
        replace(plain, augmented=rows[:2]),
        replace(plain, second_test=rows[:2], augmented=rows[2:4]),
        replace(plain, second_test=rows[2:4], augmented=rows[:2]),
        replace(plain, second_test=rows[:4]),
        replace(plain, augmented=rows[:4]),
        replace(plain, test=rows[4:].reshape(2, 2)),
        replace(plain, test=rows[4:].reshape(4, 1)),
        replace(plain, test=rows[4:]),
        replace(plain, groups=rows // 2),
        replace(plain, train=rows[:5], val=rows[5:6]),
    ]
    digests = {fit_cache.split_digest(task, split, "own") for split in [plain, *others]}
    assert len(digests) == 12
    assert fit_cache.split_digest(task, replace(plain), "own") in digests
