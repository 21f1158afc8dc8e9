"""Run a command until standard input closes, so that it ends with the process that started it, however that one ends.

Run as a file: `python -I child_process.py SECONDS COMMAND…`. SECONDS is the time that the command has for ending after
SIGTERM. Only the standard library is imported, so it starts at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def run_child(
    command: Sequence[str], log: Path, patience: float = 30.0, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the end of the block, or until this process is killed; its output goes to `log`."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(patience), *command],
            env=env,
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # Ctrl-C reaches only the process that started it, which then ends this one
        )
    try:
        yield process
    finally:
        with suppress(OSError):
            process.communicate()


def main(patience: float, command: list[str]) -> int:
    """Run the command, and end it when standard input closes. Returns: its exit code, or 128 + the signal's number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preexec = _end_with_parent if sys.platform == "linux" else None
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=preexec)  # noqa: PLW1509 (no thread runs yet)

    def end_at_close() -> None:
        with suppress(OSError):
            while os.read(0, 4096):  # not sys.stdin: a thread that holds it makes Python abort at its end
                pass
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(patience)
        child.kill()

    threading.Thread(target=end_at_close, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _end_with_parent() -> None:
    """Have Linux send this process SIGTERM when the process that started it ends, even when that is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, <linux/prctl.h>


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
