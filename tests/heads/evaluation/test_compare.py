from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from winnow.common.errors import InputError
from winnow.heads.evaluation import compare as module
from winnow.heads.evaluation.compare import compare, table
from winnow.heads.evaluation.fit import (
    DEFAULT_HEADS,
    HEADS,
    Fit,
    FitOptions,
    HeadSpec,
    Split,
    Task,
    build,
    fit_estimator,
    fit_head,
)
from winnow.heads.evaluation.grid_file import heads_from_names
from winnow.heads.evaluation.metrics import confusion, ece, metrics, reliability
from winnow.heads.models.baselines import BASELINES

CLASSES = ["daisy", "rose", "été"]


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def data(n=90, repeats=2, d=6):
    """Three classes around unit vectors, and seeded splits of them: X (N, D), y (N,), splits."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    X = (np.eye(d)[y] + rng.normal(scale=0.5, size=(n, d))).astype(np.float32)
    splits = []
    for _ in range(repeats):
        train, val, test = np.split(rng.permutation(n), [int(0.7 * n), int(0.85 * n)])
        splits.append(Split(train, val, test, np.arange(n)))
    return X, y, splits


def assert_equal_fits(a: Fit, b: Fit) -> None:
    seconds = {"fit_seconds": 0, "predict_seconds": 0}
    assert a.proba.keys() == b.proba.keys()
    for part in a.proba:
        np.testing.assert_array_equal(a.proba[part], b.proba[part])
        np.testing.assert_array_equal(a.y[part], b.y[part])
    a, b = (replace(fit, proba={}, y={}, **seconds) for fit in (a, b))
    assert a == b


def kept(fit: Fit, repeat: int) -> Fit:
    """What `compare` keeps of a fit: the probabilities of the first split only."""
    return replace(fit, proba={}, y={}) if repeat else fit


def test_there_are_ten_kinds_and_three_that_have_to_be_named():
    kinds = "dense dummy centroid knn logistic svm-linear svm-rbf lda forest mlp"
    assert list(DEFAULT_HEADS) == kinds.split()
    assert list(HEADS) == [*kinds.split(), "triplet", "supcon", "finetune"]


class TestSmallClasses:
    """Three pictures to train on, of five, are enough for every head, without a warning."""

    @pytest.mark.parametrize(
        ("kind", "twins"),
        [
            pytest.param("dense", False, marks=pytest.mark.slow),
            pytest.param("dense", True, marks=pytest.mark.slow),
            *((kind, False) for kind in HEADS if kind not in ("dense", "finetune")),
        ],
    )
    def test_every_head_fits_on_them(self, kind, twins):
        rng = np.random.default_rng(0)
        y = np.repeat(np.arange(4), [5, 5, 40, 200])
        X = (np.eye(8)[y] + rng.normal(scale=0.2, size=(250, 8))).astype(np.float32)
        groups = np.arange(250)
        groups[2] = 1 if twins else 2  # two of the three in train
        parts = [
            np.flatnonzero(np.isin(np.arange(250), rows))
            for rows in ([3, 8, *range(10, 250, 6)], [4, 9, *range(11, 250, 6)])
        ]
        train = np.setdiff1d(np.arange(250), np.concatenate(parts))
        assert np.bincount(y[train])[:2].tolist() == [3, 3]
        few = {"dense": {"epochs": 5, "lr": 0.5}, "forest": {"n_estimators": 20}}.get(kind, {})
        _, fit = fit_head(HeadSpec(kind, kind, few), Task(X, y, list("abcd")), Split(train, *parts, groups))
        assert fit.proba["test"].shape == (len(parts[1]), 4)
        assert np.isfinite(fit.metrics["test"]["log_loss"])
        if kind in ("centroid", "logistic", "svm-linear", "svm-rbf"):
            assert fit.metrics["test"]["macro_f1"] > 0.9


class TestFitHead:
    def test_it_reports_each_part(self):
        X, y, (split, _) = data()
        estimator, fit = fit_head(HeadSpec("k", "knn"), Task(X, y, CLASSES), split)
        for part in ("train", "val", "test"):
            rows = getattr(split, part)
            proba = estimator.predict_proba(X[rows])
            assert fit.metrics[part] == pytest.approx(metrics(y[rows], proba), rel=1e-5)
            assert fit.confusion[part] == confusion(y[rows], proba.argmax(axis=1), 3).tolist()
        assert fit.proba["test"].dtype == np.float32
        np.testing.assert_array_equal(fit.y["val"], y[split.val])
        assert sum(fit.reliability["count"]) == len(split.test)
        assert ece({name: np.array(of) for name, of in fit.reliability.items()}) == fit.metrics["test"]["ece"]
        assert fit.history is None
        assert fit.best_epoch is None
        assert fit.fit_seconds > 0

    def test_it_sees_only_train(self):
        X, y, (split, _) = data()
        centroid, task = HeadSpec("c", "centroid"), Task(X, y, CLASSES)
        before = fit_estimator(centroid, task, split).means_
        elsewhere = np.setdiff1d(np.arange(len(y)), split.train)
        X[elsewhere], y[elsewhere] = np.nan, 2 - y[elsewhere]
        np.testing.assert_array_equal(before, fit_estimator(centroid, task, split).means_)

    def test_a_class_that_train_lacks_gets_no_probability(self):
        X, y, (split, _) = data()
        split = replace(split, train=split.train[y[split.train] != 1])
        _, fit = fit_head(HeadSpec("c", "centroid"), Task(X, y, CLASSES), split)
        assert fit.proba["test"].shape == (len(split.test), 3)
        assert (fit.proba["test"][:, 1] == 0).all()
        assert np.isfinite(fit.metrics["test"]["log_loss"])

    def test_float16_vectors_do(self):
        X, y, (split, _) = data()
        _, fit = fit_head(HeadSpec("l", "logistic"), Task(X.astype(np.float16), y, CLASSES), split)
        assert fit.metrics["test"]["accuracy"] > 0.5

    def test_a_value_that_does_not_do_is_said_with_the_head(self):
        X, y, (split, _) = data()
        with pytest.raises(
            InputError, match="head 'mine': The 'n_neighbors' parameter of CosineNeighbours must be an int"
        ):
            fit_head(HeadSpec("mine", "knn", {"n_neighbors": 0}), Task(X, y, CLASSES), split)

    @pytest.mark.parametrize(
        ("kind", "params", "message"),
        [
            ("lda", {"solver": "svd"}, "shrinkage not supported with 'svd' solver."),
            ("lda", {"n_components": 10}, "n_components cannot be larger than"),
            ("logistic", {"solver": "liblinear"}, "The 'liblinear' solver does not support multiclass"),
            ("svm-linear", {"kernel": "precomputed"}, "X should be a square kernel matrix"),
            ("mlp", {"hidden_layer_sizes": (-5, 3)}, "hidden_layer_sizes must be > 0"),
            ("forest", {"class_weight": {7: 1.0}}, "The classes, "),
        ],
    )
    def test_what_a_classifier_will_not_do_is_said_in_one_line(self, kind, params, message):
        X, y, (split, _) = data()
        with pytest.raises(InputError) as raised:
            fit_head(HeadSpec("mine", kind, params), Task(X, y, CLASSES), split)
        assert str(raised.value).startswith(f"head 'mine': {message}")
        assert "\n" not in str(raised.value)

    def test_seeds_begin_again_after_the_last_one(self):
        assert build(HeadSpec("f", "forest"), 2**31 + 3).random_state == 3
        assert build(HeadSpec("d", "dense"), 2**31 - 1).seed == 2**31 - 1
        assert build(HeadSpec("d", "dense"), 2**31).seed == 0

    @pytest.mark.parametrize("params", [{}, {"calibration": "temperature"}])
    def test_calibration_keeps_groups_on_one_side(self, monkeypatch, params):
        from winnow.heads.models.estimators import SpreadFolds

        X, y, (split, _) = data()
        seen, whole = [], SpreadFolds.split
        monkeypatch.setattr(
            SpreadFolds, "split", lambda self, X, y, groups=None: seen.append(self.groups) or whole(self, X, y)
        )
        split = replace(split, groups=np.arange(len(y)) // 2 * 10)
        fit_estimator(HeadSpec("s", "svm-linear", params), Task(X, y, CLASSES), split)
        assert len(seen) == 1
        np.testing.assert_array_equal(seen[0], split.groups[split.train])

    def test_what_is_imported_is_not_part_of_fitting(self, monkeypatch):
        dummy, slept = BASELINES["dummy"], []

        def slow_at_first(**params):
            if not slept:
                slept.append(time.sleep(0.5))
            return dummy(**params)

        monkeypatch.setitem(BASELINES, "dummy", slow_at_first)
        X, y, (split, _) = data()
        assert fit_head(HeadSpec("d", "dummy"), Task(X, y, CLASSES), split)[1].fit_seconds < 0.4

    def test_a_head_that_does_not_converge_says_nothing(self):
        X, y, (split, _) = data()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            fit_head(HeadSpec("mlp", "mlp", {"max_iter": 1}), Task(X, y, CLASSES), split)
        assert [str(warning.message) for warning in said] == []

    def test_the_seed_of_a_head_holds_over_that_of_the_repeat(self):
        X, y, (split, _) = data()
        head = HeadSpec("f", "forest", {"n_estimators": 3, "seed": 5})
        assert fit_estimator(head, Task(X, y, CLASSES), split).random_state == 5


class TestCompare:
    HEADS = (HeadSpec("c", "centroid"), HeadSpec("f", "forest", {"n_estimators": 5}))

    def run(self, tmp_path, heads=HEADS, key="photos", on_fit=None, **options):
        X, y, splits = data()
        return compare(list(heads), Task(X, y, CLASSES, key), splits, FitOptions(cache=tmp_path, **options), on_fit)

    def test_every_head_on_every_split(self, tmp_path):
        seen = []
        fits = self.run(tmp_path, on_fit=lambda done, total, head: seen.append((done, total, head.name)))
        assert seen == [(1, 4, "f"), (2, 4, "f"), (3, 4, "c"), (4, 4, "c")]  # the slow one first
        X, y, splits = data()
        for h, head in enumerate(self.HEADS):
            for r, split in enumerate(splits):
                assert_equal_fits(fits[h][r], kept(fit_head(head, Task(X, y, CLASSES), split, FitOptions(r))[1], r))

    def test_what_was_fitted_is_found_again(self, tmp_path, monkeypatch):
        before = self.run(tmp_path)
        assert len(list(tmp_path.glob("*.npz"))) == len(list(tmp_path.iterdir())) == 4
        monkeypatch.setattr(module, "fit_heads", None)
        seen = []
        renamed = [replace(head, name=head.name + "!") for head in self.HEADS]
        after = self.run(tmp_path, renamed, on_fit=lambda done, total, head: seen.append(done))
        assert seen == [1, 2, 3, 4]
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
    def test_what_a_fit_depends_on_makes_it_anew(self, tmp_path, change):
        self.run(tmp_path)
        self.run(tmp_path, **change)
        assert len(list(tmp_path.glob("*.npz"))) == 8

    def test_fresh_fits_anew_what_is_there(self, tmp_path):
        before, after = (sum(self.run(tmp_path, fresh=True), []) for _ in range(2))
        assert [fit.fit_seconds for fit in before] != [fit.fit_seconds for fit in after]

    def test_the_seed_counts_on_with_the_repeats(self, tmp_path):
        X, y, splits = data()
        fits = self.run(tmp_path, seed=7)
        _, fit = fit_head(self.HEADS[1], Task(X, y, CLASSES), splits[1], FitOptions(8))
        assert_equal_fits(fits[1][1], kept(fit, 1))

    @pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip file", None])
    def test_a_damaged_file_is_fitted_anew(self, tmp_path, damage):
        before = self.run(tmp_path)
        file = next(tmp_path.glob("*.npz"))
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
        after = self.run(tmp_path)
        for a, b in zip(sum(before, []), sum(after, []), strict=True):
            assert_equal_fits(a, b)
        assert module._load(file) is not None

    @pytest.mark.slow
    def test_no_flipped_bit_of_a_file_stops_it(self, tmp_path):
        self.run(tmp_path, heads=self.HEADS[:1])
        file = next(tmp_path.glob("*.npz"))
        whole = file.read_bytes()
        for place in range(0, len(whole), 3):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            file.write_bytes(damaged)
            assert isinstance(module._load(file), Fit | None)

    def test_splits_that_differ_have_other_keys(self):
        rows, task = np.arange(8), Task(np.empty((8, 1)), np.arange(8) % 2, ["a", "b"], "k")
        plain = Split(rows[:4], rows[4:6], rows[6:], rows)
        others = [
            replace(plain, also=rows[:2]),
            replace(plain, more=rows[:2]),
            replace(plain, also=rows[:2], more=rows[2:4]),
            replace(plain, also=rows[2:4], more=rows[:2]),
            replace(plain, also=rows[:4]),
            replace(plain, more=rows[:4]),
            replace(plain, test=rows[4:].reshape(2, 2)),
            replace(plain, test=rows[4:].reshape(4, 1)),
            replace(plain, test=rows[4:]),
            replace(plain, groups=rows // 2),
            replace(plain, train=rows[:5], val=rows[5:6]),
        ]
        keys = {module._split_key(task, split, "own") for split in [plain, *others]}
        assert len(keys) == 12
        assert module._split_key(task, replace(plain), "own") in keys

    def test_without_a_folder_nothing_is_kept(self, tmp_path):
        X, y, splits = data()
        fits = compare([HeadSpec("c", "centroid")], Task(X, y, CLASSES), splits)
        assert len(fits[0]) == 2
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.slow
    def test_two_processes_give_what_one_gives(self, tmp_path):
        names = ["centroid", "logistic", "svm-rbf", "lda", "forest", "mlp"]
        X, y, splits = data()
        task, seen = Task(X, y, CLASSES), []
        both = compare(
            heads_from_names(names), task, splits, FitOptions(jobs=2), lambda done, total, head: seen.append(done)
        )
        assert seen == list(range(1, 13))
        alone = compare(heads_from_names(names), task, splits)
        for a, b in zip(sum(both, []), sum(alone, []), strict=True):
            assert_equal_fits(a, b)

    @pytest.mark.slow
    def test_what_processes_share_is_on_the_disk_where_memory_is_short(self, tmp_path, monkeypatch):
        X, y, splits = data()
        heads, seen = [HeadSpec("c", "centroid")], []
        task = Task(X, y, CLASSES)
        few = compare(heads, task, splits, FitOptions(jobs=2))  # starts joblib's processes, with a folder of their own
        run = module._run
        monkeypatch.setattr(module, "_run", lambda calls, jobs: seen.append(calls[0][1][1].X) or run(calls, jobs))
        monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=X.nbytes))
        monkeypatch.setattr(module, "MEMORY", tmp_path)
        again = compare(heads, task, splits, FitOptions(jobs=2, cache=tmp_path / "fits"))
        assert Path(seen[0].filename).parent.parent == tmp_path
        np.testing.assert_array_equal(seen[0], X)
        assert [path.name for path in tmp_path.iterdir()] == ["fits"]  # nothing stays
        for a, b in zip(few[0], again[0], strict=True):
            assert_equal_fits(a, b)
        monkeypatch.setattr(module.np, "save", full)
        with pytest.raises(InputError, match="X.npy: No space left on device; make room there, or choose --jobs 1"):
            compare(heads, Task(X, y, CLASSES), splits, FitOptions(jobs=2))

    @pytest.mark.slow
    def test_a_mistake_in_a_process_arrives_as_it_is(self):
        X, y, splits = data()
        with pytest.raises(InputError, match="head 'mine': The 'C' parameter"):
            compare([HeadSpec("mine", "logistic", {"C": -1})], Task(X, y, CLASSES), splits, FitOptions(jobs=2))


@pytest.mark.slow
class TestDense:
    HEAD = HeadSpec("d", "dense", {"hidden": (8,), "epochs": 4, "lr": 0.1})

    def test_history_and_best_epoch_survive_the_cache(self, tmp_path):
        X, y, splits = data(repeats=1)
        first, again = (
            compare([self.HEAD], Task(X, y, CLASSES, "k"), splits, FitOptions(cache=tmp_path))[0][0] for _ in range(2)
        )
        assert_equal_fits(first, again)
        assert len(first.history["val_loss"]) == 4
        assert first.best_epoch == int(np.argmin(first.history["val_loss"]))

    def test_the_reports_recipe_validates_on_val(self):
        X, y, (split, _) = data()
        _, fit = fit_head(self.HEAD, Task(X, y, CLASSES), split, FitOptions(validation="val"))
        assert fit.metrics["val"]["log_loss"] == pytest.approx(min(fit.history["val_loss"]), rel=1e-5)
        _, own = fit_head(self.HEAD, Task(X, y, CLASSES), split)
        assert own.metrics["val"]["log_loss"] != pytest.approx(min(own.history["val_loss"]), rel=1e-3)

    def test_without_a_finite_epoch_there_is_no_history(self):
        X, y, (split, _) = data()
        head = HeadSpec("d", "dense", {"lr": 1e38, "epochs": 2})
        _, fit = fit_head(head, Task(X * 1e3, y, CLASSES), split)
        assert fit.history is None
        assert fit.best_epoch is None


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


TINY = """
import sys
import numpy as np
from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Split, Task
from winnow.heads.evaluation.grid_file import heads_from_names
y = np.arange(24) % 2
X = np.eye(4)[y] + np.random.default_rng(0).normal(scale=0.1, size=(24, 4))
task = Task(X, y, ["a", "b"])
splits = [Split(np.arange(16), np.arange(16, 20), np.arange(20, 24), np.arange(24))]
"""


@pytest.mark.slow
def test_scikit_learn_heads_never_load_tensorflow():
    done = python(
        "import sys\nsys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        + TINY
        + "from winnow.heads.evaluation.fit import HEADS\n"
        "compare(heads_from_names([name for name in HEADS if name not in ('dense', 'finetune')]), task, splits)"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_dense_head_says_when_tensorflow_is_missing():
    done = python(
        "import sys\nsys.modules['tensorflow'] = None\n" + TINY + "from winnow.common.errors import InputError\n"
        "try:\n    compare(heads_from_names(['dense']), task, splits)\n"
        "except InputError as error:\n    print(error)"
    )
    assert 'pip install "winnow-images[train]"' in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process group is interrupted in another way there")
def test_one_interrupt_ends_it_cleanly(tmp_path):
    script = tmp_path / "long.py"
    script.write_text(
        TINY
        + """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
if __name__ == "__main__":
    heads = [HeadSpec(str(i), "forest", {"n_estimators": 500 + i}) for i in range(60)]
    try:
        compare(heads, task, splits, FitOptions(jobs=2), lambda *_: print("fitted", flush=True))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    )
    paths = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    running = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert running.stdout.readline() == "fitted\n"
    os.killpg(running.pid, signal.SIGINT)
    start = time.monotonic()
    out, err = running.communicate(timeout=60)
    assert out.splitlines()[-1] == "interrupted"
    assert err == ""
    assert time.monotonic() - start < 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="its processes are found in /proc")
def test_a_killed_run_leaves_no_processes(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(
        TINY
        + """
import os, signal
def killed(done, total, head):
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    print(*children, flush=True)
    if done == 4:
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    heads = [HeadSpec(str(i), "forest", {"n_estimators": 100 + i}) for i in range(6)]
    compare(heads, task, splits, FitOptions(jobs=2), killed)
"""
    )
    paths = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    children = {int(pid) for pid in done.stdout.split()}
    assert len(children) >= 2
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def made_fit(val: float, right: list[int]) -> Fit:
    """A fit on a test set of four, two classes; right says which of them it has right (1) or not (0)."""
    y = np.array([0, 0, 1, 1])
    proba = np.eye(2, dtype=np.float32)[np.where(right, y, 1 - y)] * 0.8 + 0.1
    scores = metrics(y, proba)
    return Fit(
        {"train": scores, "val": scores | {"weighted_f1": val}, "test": scores},
        {},
        {"val": proba, "test": proba},
        {"val": y, "test": y},
        None,
        None,
        fit_seconds=2.0,
        predict_seconds=0.5,
        reliability={name: of.tolist() for name, of in reliability(y, proba).items()},
    )


SPLIT = Split(np.arange(8), np.arange(8, 10), np.arange(10, 14), np.arange(14))


class TestTable:
    HEADS = (HeadSpec("bad", "knn"), HeadSpec("good", "logistic", {"C": 2.0}), HeadSpec("middle", "lda"))

    def test_the_best_on_val_is_chosen_and_first(self):
        fits = [
            [made_fit(0.1, [1, 1, 1, 1]), made_fit(0.1, [1, 1, 1, 1])],  # best on test: that must not count
            [made_fit(0.9, [1, 1, 1, 1]), made_fit(0.7, [1, 0, 1, 0])],
            [made_fit(0.5, [1, 0, 1, 0]), made_fit(0.6, [0, 0, 0, 0])],
        ]
        rows = table(list(self.HEADS), fits, [SPLIT, SPLIT])
        assert [row["name"] for row in rows] == ["good", "middle", "bad"]
        good, middle, _ = rows
        assert (good["kind"], good["params"]) == ("logistic", {"C": 2.0})
        assert good["val_weighted_f1"] == pytest.approx(0.8)
        assert good["weighted_f1"]["mean"] == pytest.approx(0.75)
        assert (good["accuracy"], good["macro_f1"]) == pytest.approx((0.75, 0.75))
        assert good["log_loss"] == pytest.approx(-(6 * np.log(0.9) + 2 * np.log(0.1)) / 8)
        assert sum(good["reliability"]["count"]) == 8
        assert good["ece"] == pytest.approx(0.9 - 6 / 8)
        assert (good["fit_seconds"], good["predict_seconds"], good["seconds"]) == (2.0, 0.5, 2.5)
        assert good["versus_chosen"] is None
        assert middle["versus_chosen"]["difference"] == pytest.approx(-0.5)
        assert middle["versus_chosen"]["p"] == 0

    def test_intervals_are_corrected_for_overlapping_splits(self):
        from winnow.heads.evaluation.metrics import corrected_interval

        fits = [[made_fit(0.5, [1, 1, 1, 1]), made_fit(0.5, [1, 0, 1, 0])]]
        (row,) = table([HeadSpec("one", "knn")], fits, [SPLIT, SPLIT])
        mean, low, high = corrected_interval(np.array([1.0, 0.5]), n_train=8, n_test=4)
        assert row["weighted_f1"] == pytest.approx({"mean": mean, "low": low, "high": high})

    def test_one_split_is_judged_by_a_bootstrap(self):
        rows = table(
            [HeadSpec("a", "knn"), HeadSpec("b", "lda")],
            [[made_fit(0.5, [1, 1, 1, 1])], [made_fit(0.4, [1, 0, 1, 1])]],
            [SPLIT],
        )
        assert rows[0]["weighted_f1"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
        b = rows[1]["weighted_f1"]
        assert 0 <= b["low"] < b["mean"] < b["high"] <= 1
        versus = rows[1]["versus_chosen"]
        assert versus["difference"] == pytest.approx(b["mean"] - 1)
        assert versus["high"] == 0  # the one picture that differs is not drawn in a third of the resamples
        assert versus["p"] == pytest.approx(2 * (3 / 4) ** 4, abs=0.05)
