"""The FiftyOne App on a folder of pictures: push the scores, run the App, pull tags and deletions."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.common.atomic_write import atomic_write
from winnow.common.errors import InputError
from winnow.common.progress import OnMessage
from winnow.curate.app import mongod
from winnow.curate.app.child_process import run_child
from winnow.curate.app.mongod import Mongod
from winnow.curate.app.sync import disconnect, initial_page, pull, push
from winnow.curate.app.views import add_umap
from winnow.curate.workspace import Workspace

PORT = 5151  # FiftyOne's default; another free port when it is in use
START_SECONDS = 90.0  # until the App's server must answer
TOKEN_BYTES = 16
_HOME = "USERPROFILE" if sys.platform == "win32" else "HOME"


@dataclass(frozen=True)
class ReviewOptions:
    """How the App is opened, and how its tags and deletions are recorded.

    port : port of the App; None: 5151, or another free one when that is in use.
    browser : open the App in a browser.
    accept : record tags and deletions without a question.
    ask : puts the question at a terminal and returns the answer. With None, or where standard input is no terminal,
        tags and deletions are kept for the next review.
    """

    port: int | None = None
    browser: bool = True
    accept: bool = False
    ask: Callable[[str], bool] | None = None

    def confirmation(self) -> Callable[[str], bool] | None:
        """Return the function that decides whether tags and deletions are recorded, None when nobody can."""
        if self.accept:
            return lambda _: True
        is_terminal = sys.stdin is not None and sys.stdin.isatty()
        return self.ask if is_terminal else None


@dataclass(frozen=True)
class ReviewResult:
    """What a review came to.

    address : of the App.
    recorded : verdict -> pictures, from tags and deletions.
    already_open : another review of the workspace had the App open, and it was left alone.
    unconfirmed : verdicts from tags and deletions that nobody could confirm; they are kept for the next review.
    """

    address: str
    recorded: dict[str, int] = field(default_factory=dict)
    already_open: bool = False
    unconfirmed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The result under the keys of `review --json`."""
        return {"address": self.address, "recorded": self.recorded, "running": self.already_open}


@dataclass(frozen=True)
class AppServer:
    """A running server of the App; the token is in a header of its answers."""

    process: subprocess.Popen[bytes]
    port: int
    token: str


def open_review(
    workspace: Workspace, store: Path, options: ReviewOptions | None = None, on_message: OnMessage = print
) -> ReviewResult:
    """Open the App on the last scoring until Ctrl-C, then record the tags and deletions made in it.

    Parameters: `store`, the table of vectors.
    Raises: InputError when FiftyOne or its database is missing, there are no scores, the port is in use, or the App or
    its database ended by itself.
    """
    from winnow.curate.noise import score_table

    options = options or ReviewOptions()
    executable, version = mongod.find_mongod()
    folder = workspace.folder / "fiftyone"
    with _exclusive(folder) as is_first:
        if not is_first:
            return _join_other(folder, options.browser, on_message)
        _choose_port(options.port)
        table = score_table.read(workspace)
        if not table.num_rows:
            raise InputError(f"the pictures of {workspace.images} have no scores yet", remedy="score")
        with mongod.start_mongod(folder) as database:
            on_message(f"Database: mongod {version}, {executable}")
            _import_fiftyone(folder, database.uri)
            with ExitStack() as servers:
                app = _serve(servers, folder, _choose_port(options.port))
                dataset = push(workspace, table, store)  # while the server starts
                while not _wait_for_answer(app, folder):
                    app = _serve(servers, folder, _choose_port(options.port))
                address = f"http://{mongod.ADDRESS}:{app.port}{initial_page(workspace)}"
                with _until_interrupted():
                    _announce(folder, address, app.port, options.browser, on_message)
                    add_umap(dataset)
                    _wait_while_running([app.process, database.process])
                app_ended = app.process.poll() is not None
            _check_database(database, folder)
            on_message("Closed.")
            pulled = pull(workspace, dataset, on_message, options.confirmation())
            disconnect()
    if app_ended:
        raise InputError(f"the App ended by itself: {folder / 'app.log'} says why; every click is in the journal")
    return ReviewResult(address, pulled.recorded, unconfirmed=pulled.unconfirmed)


@contextmanager
def _exclusive(folder: Path) -> Iterator[bool]:
    """Lock the folder for the block. Yields: False when another review of it is running."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            yield True
    except Timeout:
        yield False
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}", remedy="workspace") from None


def _join_other(folder: Path, browser: bool, on_message: OnMessage) -> ReviewResult:
    """Show the address of the review that is running."""
    try:
        address = (folder / "address").read_text()
    except FileNotFoundError:
        raise InputError(f"another review with {folder} is starting and has no address yet", remedy="wait") from None
    on_message(f"Open already: {address}   (Ctrl-C where it was started ends it)")
    if browser:
        _open_browser(address)
    return ReviewResult(address, already_open=True)


def _choose_port(wanted: int | None) -> int:
    """Return the wanted port, or else the default one or any that is free."""
    if wanted is not None:
        try:
            return mongod.free_port(wanted)
        except OSError:
            raise InputError(f"port {wanted} is in use", remedy="port") from None
    with suppress(OSError):
        return mongod.free_port(PORT)
    return mongod.free_port()


def _import_fiftyone(folder: Path, uri: str) -> None:
    """Import FiftyOne with settings that keep everything on this machine and all files in the workspace."""
    if "fiftyone" in sys.modules and os.environ.get("FIFTYONE_DATABASE_URI") != uri:
        raise InputError("FiftyOne is in use in this process with another database", remedy="new-process")
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


def _serve(servers: ExitStack, folder: Path, port: int) -> AppServer:
    """Start the App's server; it runs until `servers` is closed."""
    command = [sys.executable, "-P", str(Path(__file__).parent / "server.py"), mongod.ADDRESS, str(port)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")}
    token = secrets.token_hex(TOKEN_BYTES)
    env |= {_HOME: str(folder), "WINNOW_REVIEW": token}
    process = servers.enter_context(run_child(command, folder / "app.log", patience=2, env=env))
    return AppServer(process, port, token)


def _wait_for_answer(app: AppServer, folder: Path) -> bool:
    """Wait until the server answers. Returns: False when it ended because another process got its port meanwhile."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(app):
        if app.process.poll() is not None and _is_taken(app.port):
            return False
        if app.process.poll() is not None or time.monotonic() > deadline:
            raise InputError(f"the App does not start on port {app.port}: {folder / 'app.log'} says why")
        time.sleep(0.1)
    return True


def _answers(app: AppServer) -> bool:
    """Whether this server, and no other, answers on its port."""
    import requests

    try:
        answer = requests.get(f"http://{mongod.ADDRESS}:{app.port}/fiftyone", timeout=5)
    except requests.RequestException:
        return False
    return answer.ok and answer.headers.get("winnow-review") == app.token


def _is_taken(port: int) -> bool:
    try:
        mongod.free_port(port)
    except OSError:
        return True
    return False


def _announce(folder: Path, address: str, port: int, browser: bool, on_message: OnMessage) -> None:
    """Write the address for other reviews of the folder, show it, and open it in a browser."""
    with atomic_write(folder / "address") as stream:
        stream.write(address.encode())
    on_message(f"Open: {address}")
    if tunnel := _tunnel_command(port, os.environ.get("SSH_CONNECTION")):
        on_message(f"To open it on the computer in front of you, first run there: {tunnel}")
    elif browser:
        _open_browser(address)
    on_message(
        "The icons above the pictures are Drop, Keep, Relabel, Undo and Re-rank; a narrow window hides some behind the "
        "arrow."
    )
    on_message("Every click is written to the journal at once. Ctrl-C ends the review.")


def _tunnel_command(port: int, connection: str | None) -> str | None:
    """Return the ssh command that forwards the App's port to the user's computer, None in a local shell.

    Parameters: `connection`, `$SSH_CONNECTION`: addresses and ports of the client and of this machine.
    """
    import getpass

    fields = (connection or "").split()
    if len(fields) != 4:
        return None
    _, _, host, ssh_port = fields
    option = "" if ssh_port == "22" else f"-p {ssh_port} "
    return f"ssh -N -L {port}:{mongod.ADDRESS}:{port} {option}{getpass.getuser()}@{host}"


def _open_browser(address: str) -> None:
    import webbrowser

    with suppress(webbrowser.Error):
        webbrowser.open(address)


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Leave the block at Ctrl-C or SIGTERM, without an exception."""

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_while_running(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until one of the processes ends.

    Browser tabs are not watched: a tab that is reloaded is closed for a moment.
    """
    while all(process.poll() is None for process in processes):
        time.sleep(0.5)


def _check_database(database: Mongod, folder: Path) -> None:
    """Raises: InputError when the database has ended."""
    if database.process.poll() is not None:
        raise InputError(
            f"the database ended by itself: {folder / 'mongod.log'} says why; every click is in the journal, and tags "
            "are kept for the next review"
        )
