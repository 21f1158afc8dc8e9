from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.fits import CLASSES, assert_equal_fits, data

from winnow.commands.remedies import with_remedy
from winnow.common.errors import InputError
from winnow.heads.evaluation import fit_pool
from winnow.heads.evaluation.compare import compare
from winnow.heads.evaluation.fit import FitOptions, HeadSpec, Task
from winnow.heads.evaluation.grid_file import heads_from_names


@pytest.mark.slow
def test_two_processes_give_the_same_fits_as_one(tmp_path):
    names = ["centroid", "logistic", "svm-rbf", "lda", "forest", "mlp"]
    X, y, splits = data()
    task, progress = Task(X, y, CLASSES), []
    both = compare(heads_from_names(names), task, splits, FitOptions(jobs=2), lambda done, _: progress.append(done))
    assert progress == list(range(1, 13))
    single = compare(heads_from_names(names), task, splits)
    for a, b in zip(sum(both, []), sum(single, []), strict=True):
        assert_equal_fits(a, b)


@pytest.mark.slow
def test_features_are_shared_on_disk_where_memory_is_short(tmp_path, monkeypatch):
    X, y, splits = data()
    heads, mapped = [HeadSpec("c", "centroid")], []
    task = Task(X, y, CLASSES)
    few = compare(heads, task, splits, FitOptions(jobs=2))  # starts joblib's processes, with a folder of their own
    load = np.load
    monkeypatch.setattr(fit_pool.np, "load", lambda file, **mode: mapped.append(load(file, **mode)) or mapped[-1])
    monkeypatch.setattr(fit_pool.shutil, "disk_usage", lambda folder: SimpleNamespace(free=X.nbytes))
    monkeypatch.setattr(fit_pool, "MEMORY", tmp_path)
    again = compare(heads, task, splits, FitOptions(jobs=2, cache=tmp_path / "fits"))
    assert Path(mapped[0].filename).parent.parent == tmp_path
    np.testing.assert_array_equal(mapped[0], X)
    assert [path.name for path in tmp_path.iterdir()] == ["fits"]  # the scratch folder is removed
    for a, b in zip(few[0], again[0], strict=True):
        assert_equal_fits(a, b)
    monkeypatch.setattr(fit_pool.np, "save", full)
    with pytest.raises(InputError, match="X.npy: No space left on device$") as raised:
        compare(heads, Task(X, y, CLASSES), splits, FitOptions(jobs=2))
    assert with_remedy(raised.value).endswith(": make room there, or choose --jobs 1")


@pytest.mark.slow
def test_an_error_in_a_process_is_raised_in_the_parent():
    X, y, splits = data()
    with pytest.raises(InputError, match="head 'mine': The 'C' parameter"):
        compare([HeadSpec("mine", "logistic", {"C": -1})], Task(X, y, CLASSES), splits, FitOptions(jobs=2))


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
        + "from winnow.heads.kinds import HEADS\n"
        "compare(heads_from_names([name for name in HEADS if name not in ('dense', 'finetune')]), task, splits)"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_without_tensorflow_the_dense_head_raises_an_input_error():
    done = python(
        "import sys\nsys.modules['tensorflow'] = None\n" + TINY + "from winnow.common.errors import InputError\n"
        "try:\n    compare(heads_from_names(['dense']), task, splits)\n"
        "except InputError as error:\n    print(error)"
    )
    assert 'pip install "winnow-images[train]"' in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="process groups are interrupted differently there")
def test_one_interrupt_stops_it_without_an_error(tmp_path):
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
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_run_leaves_no_processes(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(
        TINY
        + """
import os, signal
def killed(done, total):
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
