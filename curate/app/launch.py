"""The FiftyOne App on a person's pictures: push the scores, launch, pull what was tagged and deleted."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError
from winnow.curate.app import mongod as database
from winnow.curate.app.child_process import kept
from winnow.curate.app.sync import close, opening, pull, push
from winnow.curate.app.views import add_umap
from winnow.curate.workspace import Workspace

PORT = 5151  # FiftyOne's own; the next free one when it is taken
START_SECONDS = 90.0  # for the App's server to answer
TOKEN_BYTES = 16
OnMessage = Callable[[str], None]
_HOME = "USERPROFILE" if sys.platform == "win32" else "HOME"


class App(NamedTuple):
    """The App's server."""

    process: subprocess.Popen[bytes]
    port: int
    token: str  # in the header of its answers


def open_review(
    workspace: Workspace,
    store: Path,
    *,
    port: int | None = None,
    browser: bool = True,
    accept: bool = False,
    on_message: OnMessage = print,
    ask: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    """Open the App on the pictures as last scored until Ctrl-C, then read back what was done with its own tools.

    Parameters: `store`, the table of vectors; `port`, None: 5151 or another free one; `accept`, record what was tagged
    and deleted without asking; `ask`, puts that question when standard input is a terminal, else it is kept for next
    time. Returns: `address`, `recorded` (verdict -> how many of tags and deletions), `running` (True: it was open
    already, and is left alone). Raises: InputError when FiftyOne or its database is missing, the port is taken, or the
    App or its database ended by itself.
    """
    from winnow.curate.noise import score_table

    executable, version = database.find_mongod()
    folder = workspace.folder / "fiftyone"
    with _alone(folder) as alone:
        if not alone:
            return _open_other(folder, browser, on_message)
        _port(port)
        table = score_table.read(workspace)
        if not table.num_rows:
            raise InputError(f"the pictures of {workspace.images} have no scores yet: run `winnow score` first")
        with database.running(folder) as mongod:
            on_message(f"Database: mongod {version}, {executable}")
            _load(folder, mongod.uri)
            with ExitStack() as servers:
                app = _serve(servers, folder, _port(port))
                dataset = push(workspace, table, store)
                while not _answers(app, folder):
                    app = _serve(servers, folder, _port(port))
                address = f"http://{database.ADDRESS}:{app.port}{opening(workspace)}"
                with _until_told():
                    _welcome(folder, address, app.port, browser, on_message)
                    add_umap(dataset)
                    _watch([app.process, mongod.process])
                ended = app.process.poll() is not None
            if mongod.process.poll() is not None:
                raise InputError(
                    f"the database ended by itself: {folder / 'mongod.log'} says why; every click is in the journal, "
                    "tags wait for the next review"
                )
            on_message("Closed.")
            there = sys.stdin is not None and sys.stdin.isatty()
            recorded = pull(workspace, dataset, on_message, (lambda _: True) if accept else ask if there else None)
            close()
    if ended:
        raise InputError(f"the App ended by itself: {folder / 'app.log'} says why; every click is in the journal")
    return {"address": address, "recorded": recorded, "running": False}


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether no other review of this folder runs; none can start in the block."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            yield True
    except Timeout:
        yield False
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; use --workspace to put it elsewhere") from None


def _open_other(folder: Path, browser: bool, on_message: OnMessage) -> dict[str, Any]:
    try:
        address = (folder / "address").read_text()
    except FileNotFoundError:
        raise InputError("another `winnow review` of this folder is just starting: wait for its address") from None
    on_message(f"Open already: {address}   (Ctrl-C where it was started ends it)")
    if browser:
        _browse(address)
    return {"address": address, "recorded": {}, "running": True}


def _port(wanted: int | None) -> int:
    if wanted is not None:
        try:
            return database.free_port(wanted)
        except OSError:
            raise InputError(f"port {wanted} is in use: give --port another number, or leave it out") from None
    with suppress(OSError):
        return database.free_port(PORT)
    return database.free_port()


def _load(folder: Path, uri: str) -> None:
    """Import FiftyOne with settings of our own: nothing leaves the machine or is written outside the workspace."""
    if "fiftyone" in sys.modules and os.environ.get("FIFTYONE_DATABASE_URI") != uri:
        raise InputError("FiftyOne is in use in this process with another database: use `winnow review` in a shell")
    for name in [name for name in os.environ if name.startswith("FIFTYONE_")]:
        del os.environ[name]
    settings = {"DATABASE_URI": uri, "DO_NOT_TRACK": "true", "SHOW_PROGRESS_BARS": "false", "LOGGING_LEVEL": "ERROR"}
    settings |= {"PLUGINS_DIR": str(Path(__file__).parent / "panel"), "PLUGINS_CACHE_ENABLED": "true"}
    for name in ("DATABASE_DIR", "DEFAULT_DATASET_DIR", "DATASET_ZOO_DIR", "MODEL_ZOO_DIR"):
        settings[name] = str(folder / name.removesuffix("_DIR").lower())
    os.environ |= {f"FIFTYONE_{name}": value for name, value in settings.items()}
    before = os.environ.get(_HOME)
    os.environ[_HOME] = str(folder)  # FiftyOne keeps settings and a user's number there
    try:
        import fiftyone  # noqa: F401
    finally:
        os.environ.pop(_HOME)
        if before is not None:
            os.environ[_HOME] = before


def _serve(servers: ExitStack, folder: Path, port: int) -> App:
    """Start the App's server; it runs until `servers` is left."""
    command = [sys.executable, "-P", str(Path(__file__).parent / "server.py"), database.ADDRESS, str(port)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    token = secrets.token_hex(TOKEN_BYTES)
    env |= {_HOME: str(folder), "WINNOW_REVIEW": token}
    return App(servers.enter_context(kept(command, folder / "app.log", patience=2, env=env)), port, token)


def _answers(app: App, folder: Path) -> bool:
    """Wait until the server answers. Returns: False when someone else got its port meanwhile, so that it ended."""
    deadline = time.monotonic() + START_SECONDS
    while not _is(app):
        if app.process.poll() is not None and _taken(app.port):
            return False
        if app.process.poll() is not None or time.monotonic() > deadline:
            raise InputError(f"the App does not start on port {app.port}: {folder / 'app.log'} says why")
        time.sleep(0.1)
    return True


def _is(app: App) -> bool:
    """Whether what answers on the port is this very server."""
    import requests

    try:
        answer = requests.get(f"http://{database.ADDRESS}:{app.port}/fiftyone", timeout=5)
    except requests.RequestException:
        return False
    return answer.ok and answer.headers.get("winnow-review") == app.token


def _taken(port: int) -> bool:
    try:
        database.free_port(port)
    except OSError:
        return True
    return False


def _welcome(folder: Path, address: str, port: int, browser: bool, on_message: OnMessage) -> None:
    with atomic_write(folder / "address") as stream:
        stream.write(address.encode())
    on_message(f"Open: {address}")
    if tunnel := _tunnel(port, os.environ.get("SSH_CONNECTION")):
        on_message(f"From the machine where you sit: {tunnel}, then open that address there")
    elif browser:
        _browse(address)
    on_message(
        "Drop, Keep, Relabel, Undo and Re-rank are icons above the pictures; in a narrow window, some under the arrow."
    )
    on_message("Every click is in the journal at once. Ctrl-C here ends it.")


def _tunnel(port: int, connection: str | None) -> str | None:
    """The command that makes the App's port one of the person's own machine; `connection` is `$SSH_CONNECTION`."""
    import getpass

    words = (connection or "").split()
    if len(words) != 4:
        return None
    other = "" if words[3] == "22" else f"-p {words[3]} "
    return f"ssh -N -L {port}:{database.ADDRESS}:{port} {other}{getpass.getuser()}@{words[2]}"


def _browse(address: str) -> None:
    import webbrowser

    with suppress(webbrowser.Error):
        webbrowser.open(address)


@contextmanager
def _until_told() -> Iterator[None]:
    """Leave the block, whatever it does, at Ctrl-C or SIGTERM."""

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _watch(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for as long as they run. Tabs mean nothing: one that is loaded anew is closed for a moment."""
    while all(process.poll() is None for process in processes):
        time.sleep(0.5)
