from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.fits import CLASSES, assert_equal_fits, data

from winnow.heads.evaluation import compare as compare_module
from winnow.heads.evaluation import fit_cache, fit_pool
from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import Fit, FitOptions, HeadSpec, Task, fit_head


def as_returned(fit: Fit, repeat: int) -> Fit:
    """A fit as `compare` returns it: with probabilities on the first split only."""
    return replace(fit, proba={}, y={}) if repeat else fit


class TestCompare:
    HEADS = (HeadSpec("c", "centroid"), HeadSpec("f", "forest", {"n_estimators": 5}))

    def run(self, tmp_path, heads=HEADS, key="photos", on_fit=None, **options):
        X, y, splits = data()
        return compare(list(heads), Task(X, y, CLASSES, key), splits, FitOptions(cache=tmp_path, **options), on_fit)

    def test_every_head_on_every_split(self, tmp_path):
        progress = []
        fits = self.run(tmp_path, on_fit=lambda *counts: progress.append(counts))
        assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
        X, y, splits = data()
        for h, head in enumerate(self.HEADS):
            for r, split in enumerate(splits):
                assert_equal_fits(
                    fits[h][r], as_returned(fit_head(head, Task(X, y, CLASSES), split, FitOptions(r))[1], r)
                )

    def test_slow_heads_are_fitted_first(self, tmp_path, monkeypatch):
        order, run = [], compare_module.run_batches
        monkeypatch.setattr(
            compare_module,
            "run_batches",
            lambda batches, *rest: order.extend(batch.heads[0].kind for batch in batches) or run(batches, *rest),
        )
        self.run(tmp_path)
        assert order == ["forest", "forest", "centroid", "centroid"]

    def test_stored_fits_are_read_again(self, tmp_path, monkeypatch):
        before = self.run(tmp_path)
        assert len(list(tmp_path.glob("*.npz"))) == len(list(tmp_path.iterdir())) == 4
        monkeypatch.setattr(fit_pool, "fit_heads", None)
        progress = []
        renamed = [replace(head, name=head.name + "!") for head in self.HEADS]
        after = self.run(tmp_path, renamed, on_fit=lambda done, total: progress.append(done))
        assert progress == [1, 2, 3, 4]
        for a, b in zip(sum(before, []), sum(after, []), strict=True):
            assert_equal_fits(a, b)
            assert a.fit_seconds == b.fit_seconds

    @pytest.mark.parametrize(
        "change",
        [
            {"key": "others"},
            {"heads": [HeadSpec("c", "centroid", {"temperature": 0.1}), HeadSpec("f", "forest", {"n_estimators": 6})]},
            {"validation": "val"},
        ],
    )
    def test_a_change_of_what_a_fit_depends_on_fits_again(self, tmp_path, change):
        self.run(tmp_path)
        self.run(tmp_path, **change)
        assert len(list(tmp_path.glob("*.npz"))) == 8

    def test_fresh_fits_again_what_is_stored(self, tmp_path):
        before, after = (sum(self.run(tmp_path, fresh=True), []) for _ in range(2))
        assert [fit.fit_seconds for fit in before] != [fit.fit_seconds for fit in after]

    def test_the_seed_of_a_split_is_that_of_the_first_plus_its_number(self, tmp_path):
        X, y, splits = data()
        fits = self.run(tmp_path, seed=7)
        _, fit = fit_head(self.HEADS[1], Task(X, y, CLASSES), splits[1], FitOptions(8))
        assert_equal_fits(fits[1][1], as_returned(fit, 1))

    @pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip file", None])
    def test_a_damaged_file_is_replaced(self, tmp_path, damage):
        before = self.run(tmp_path)
        file = next(tmp_path.glob("*.npz"))
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
        after = self.run(tmp_path)
        for a, b in zip(sum(before, []), sum(after, []), strict=True):
            assert_equal_fits(a, b)
        assert fit_cache.load(file) is not None

    def test_without_a_cache_nothing_is_stored(self, tmp_path):
        X, y, splits = data()
        fits = compare([HeadSpec("c", "centroid")], Task(X, y, CLASSES), splits)
        assert len(fits[0]) == 2
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_history_and_best_epoch_survive_the_cache(tmp_path):
    X, y, splits = data(repeats=1)
    head = HeadSpec("d", "dense", {"hidden": (8,), "epochs": 4, "lr": 0.1})
    first, again = (
        compare([head], Task(X, y, CLASSES, "k"), splits, FitOptions(cache=tmp_path))[0][0] for _ in range(2)
    )
    assert_equal_fits(first, again)
    assert len(first.history["val_loss"]) == 4
    assert first.best_epoch == int(np.argmin(first.history["val_loss"]))
