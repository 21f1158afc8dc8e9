"""A review of drawn pictures in a process of its own, and a real browser to look at it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.pictures import paint
from support.project import PACKAGE, absent

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.app import mongod
from winnow.curate.journal import Journal, Line, current_verdicts
from winnow.curate.noise import score_table
from winnow.curate.workspace import Workspace, find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.workflow.embedding import embed

CHROMIUM = "/usr/bin/chromium"


# A file name that is script to a page that does not escape it, and that is no valid part of an address.
EVIL = "<img src=x onerror=\"document.title='executed'\">%41#&?.jpg"


SCRIPT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C works also for tests in the background
from pathlib import Path
from winnow.curate.app.launch import ReviewOptions, open_review
from winnow.curate.workspace import find_workspace
workspace, store = find_workspace(Path(sys.argv[1])), Path(sys.argv[2])
options = ReviewOptions(browser=False, accept=sys.argv[3] == "accept")
result = open_review(workspace, store, options, lambda text: print(text, flush=True))
print(json.dumps(result.to_json()))
"""


@pytest.fixture
def scored_workspace(hues: Path, colours: Path) -> tuple[Workspace, Path]:
    """A scored workspace: sixty pictures, a strange one, an exact copy, one with an evil name and a broken one."""
    if find_spec("fiftyone") is None:
        absent("FiftyOne is not installed")
    try:
        mongod.find_mongod()
    except InputError as error:
        absent(str(error))
    paint(hues / "red" / "odd.jpg", (250, 250, 20), 900)
    paint(hues / "red" / EVIL, (20, 250, 250), 901)
    (hues / "red" / "same.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes())
    (hues / "blue" / "broken.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes()[:300])
    workspace = find_workspace(hues)
    manifest.scan(workspace)
    store, _ = embed(workspace, EmbeddingConfig(backbone=colours), lambda done, total: None, print)
    score_table.score(workspace, store.path)
    return workspace, store.path


class ReviewProcess:
    """A review in a process of its own, whose standard input is no terminal and whose home folder is empty."""

    def __init__(self, scored_workspace: tuple[Workspace, Path], accept: str) -> None:
        workspace, store = scored_workspace
        self.home = workspace.folder.parent / "home"
        self.home.mkdir(exist_ok=True)
        env = os.environ | {"HOME": str(self.home), "PYTHONPATH": PACKAGE}
        command = [sys.executable, "-c", SCRIPT, str(workspace.images), str(store), accept]
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []

    def address(self) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("Open"):
                return next(word for word in line.split() if word.startswith("http"))
        raise AssertionError("\n".join(self.lines))

    def mongod(self) -> Any:
        import psutil

        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in children if child.name() == "mongod")

    def end(self, signal_: signal.Signals = signal.SIGINT) -> dict[str, Any]:
        """End it by a signal, and return its result."""
        self.process.send_signal(signal_)
        rest, _ = self.process.communicate(timeout=60)
        self.lines += rest.splitlines()
        assert self.process.returncode == 0, "\n".join(self.lines)
        return json.loads(self.lines[-1])


@contextmanager
def open_app(scored_workspace: tuple[Workspace, Path], accept: str = "accept") -> Iterator[ReviewProcess]:
    """Run a review until the end of the block. Parameters: `accept`, "accept" records tags and deletions."""
    review = ReviewProcess(scored_workspace, accept)
    try:
        yield review
    finally:
        review.process.kill()
        review.process.communicate()


@pytest.fixture
def chromium() -> Iterator[Any]:
    """A page of a real browser; a request to another host that is answered fails the test."""
    if not Path(CHROMIUM).exists():
        absent(f"Chromium is not at {CHROMIUM}")
    if find_spec("playwright") is None:
        absent("Playwright is not installed")
    from playwright.sync_api import sync_playwright

    quiet = ["background-networking", "component-update", "sync", "quic", "gpu"]
    args = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        page = browser.new_page(viewport={"width": 1700, "height": 900})
        page.set_default_timeout(30_000)
        requested: list[str] = []
        page.on("requestfinished", lambda request: requested.append(request.url))
        yield page
        browser.close()
    assert [url for url in requested if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


class App:
    """The actions of a user in the App."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        page.goto(address)
        page.get_by_text("Dismiss").first.click()
        self.wait_for_count(lambda count: count > 0)

    def tiles(self) -> list[Any]:
        """The pictures on the screen, from left to right and from top to bottom."""
        tiles = [(tile.bounding_box(), tile) for tile in self.page.locator('[data-cy="looker"]').all()]
        visible = [(box["y"], box["x"], tile) for box, tile in tiles if box and box["y"] > 100]
        return [tile for _, _, tile in sorted(visible, key=lambda row: row[:2])]

    def wait_for_count(self, condition: Callable[[int], bool]) -> None:
        """Wait until the number of pictures in the view fulfils the condition."""
        count = self.page.locator('[data-cy="entry-count-all"]')
        wait_until(lambda: count.count() and condition(int(count.inner_text().replace(",", ""))) and self.tiles())
        self.page.wait_for_timeout(500)  # tiles move to their positions

    def view(self, name: str, pictures: int) -> None:
        self.page.locator('[data-cy="saved-views-selection"]').click()
        self.page.get_by_text(name, exact=True).last.click()
        self.wait_for_count(lambda count: count == pictures)

    def select(self, *numbers: int) -> None:
        for number in numbers:
            tile = self.tiles()[number]
            tile.hover()
            tile.locator('label[data-cy="looker-checkbox-"]').click()
        self.page.locator('[data-cy="action-manage-selected"]').wait_for()

    def press(self, button: str, notice: str) -> None:
        """Press a button of Winnow's, and wait for its notice."""
        self.page.locator(f'[data-item-id="@winnow/review/{button}"]').click()
        self.wait_for_text(notice)

    def wait_for_text(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()

    def tag(self, name: str) -> None:
        """Tag the selected pictures with the App's own tagger."""
        self.page.locator('[data-cy="action-tag-sample-labels"]').click()
        field = self.page.get_by_placeholder("tag")
        field.first.fill(name)
        field.first.press("Enter")
        self.page.get_by_text("Apply", exact=True).click()


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.1)
    return value


def shorten(line: Line) -> tuple[str, ...]:
    """Return verdict, reason, label and path, as far as the line has them."""
    return tuple(filter(None, (line.verdict, line.reason, line.label, line.path)))


def ranked_paths(workspace: Workspace) -> list[str]:
    """Undecided pictures, most off-topic first, each once."""
    rows = [row for row in score_table.read(workspace).to_pylist() if row["off_topic"] is not None]
    decided = current_verdicts(Journal(workspace.folder).lines())
    first = {row["id"]: row for row in reversed(rows) if row["id"] not in decided}
    return [row["path"] for row in sorted(first.values(), key=lambda row: -row["off_topic"])]


@contextmanager
def open_samples(review: ReviewProcess) -> Iterator[Any]:
    """The collection of the App's samples in the database."""
    from pymongo import MongoClient

    port = next(c.laddr.port for c in review.mongod().net_connections("tcp") if c.status == "LISTEN")
    with MongoClient("127.0.0.1", port) as client:
        database = client["fiftyone"]
        yield database[next(name for name in database.list_collection_names() if name.startswith("samples."))]
