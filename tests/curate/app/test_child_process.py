"""A child process ends with the process that started it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from winnow.curate.app.child_process import run_child


def test_ends_with_the_exit_code_of_its_command(tmp_path: Path) -> None:
    with run_child([sys.executable, "-I", "-c", "raise SystemExit(7)"], tmp_path / "log") as process:
        assert process.wait(30) == 7
    assert (tmp_path / "log").read_bytes() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with the one that started it")
@pytest.mark.slow
def test_the_command_ends_when_its_keeper_is_killed(tmp_path: Path) -> None:
    import psutil

    with run_child([sys.executable, "-I", "-c", "import time; time.sleep(60)"], tmp_path / "log") as process:
        while not (children := psutil.Process(process.pid).children()) or "sleep" not in str(children[0].cmdline()):
            time.sleep(0.02)
        time.sleep(0.2)
        process.kill()
        assert psutil.wait_procs(children, timeout=10)[1] == []
