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
from winnow.workflow.features import embed

CHROMIUM = "/usr/bin/chromium"


# A name that a careless page would obey, and that is no good in an address.
EVIL = "<img src=x onerror=\"document.title='obeyed'\">%41#&?.jpg"


SCRIPT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is heeded also where the tests run in the background
from pathlib import Path
from winnow.curate.app.launch import open_review
from winnow.curate.workspace import find_workspace
place, store, accept = find_workspace(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3] == "accept"
said = open_review(place, store, browser=False, accept=accept, say=lambda text: print(text, flush=True))
print(json.dumps(said))
"""


@pytest.fixture
def place(hues: Path, colours: Path) -> tuple[Workspace, Path]:
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


class Running:
    """A review in a process of its own, as in a shell that is no terminal; its home folder is empty."""

    def __init__(self, place: tuple[Workspace, Path], accept: str) -> None:
        workspace, store = place
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

    def end(self, how: signal.Signals = signal.SIGINT) -> dict[str, Any]:
        """What it returned, when it is told to end."""
        self.process.send_signal(how)
        rest, _ = self.process.communicate(timeout=60)
        self.lines += rest.splitlines()
        assert self.process.returncode == 0, "\n".join(self.lines)
        return json.loads(self.lines[-1])


@contextmanager
def opened(place: tuple[Workspace, Path], accept: str = "accept") -> Iterator[Running]:
    running = Running(place, accept)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


@pytest.fixture
def chromium() -> Iterator[Any]:
    """A page of a real browser; what it asks of other computers, and gets, fails the test."""
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
        elsewhere: list[str] = []
        page.on("requestfinished", lambda asked: elsewhere.append(asked.url))
        yield page
        browser.close()
    assert [url for url in elsewhere if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []


class App:
    """What a person does in the App."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        page.goto(address)
        page.get_by_text("Dismiss").first.click()
        self.shows(lambda count: count > 0)

    def tiles(self) -> list[Any]:
        """The pictures on the screen, in the order of reading."""
        found = [(tile.bounding_box(), tile) for tile in self.page.locator('[data-cy="looker"]').all()]
        seen = [(box["y"], box["x"], tile) for box, tile in found if box and box["y"] > 100]
        return [tile for _, _, tile in sorted(seen, key=lambda row: row[:2])]

    def shows(self, right: Callable[[int], bool]) -> None:
        """Wait until the number of pictures in the view is right."""
        count = self.page.locator('[data-cy="entry-count-all"]')
        until(lambda: count.count() and right(int(count.inner_text().replace(",", ""))) and self.tiles())
        self.page.wait_for_timeout(500)  # tiles move to their places

    def view(self, name: str, pictures: int) -> None:
        self.page.locator('[data-cy="saved-views-selection"]').click()
        self.page.get_by_text(name, exact=True).last.click()
        self.shows(lambda count: count == pictures)

    def select(self, *numbers: int) -> None:
        for number in numbers:
            tile = self.tiles()[number]
            tile.hover()
            tile.locator('label[data-cy="looker-checkbox-"]').click()
        self.page.locator('[data-cy="action-manage-selected"]').wait_for()

    def press(self, button: str, says: str) -> None:
        """Press a button of ours, and wait for what it says."""
        self.page.locator(f'[data-item-id="@winnow/review/{button}"]').click()
        self.told(says)

    def told(self, says: str) -> None:
        self.page.get_by_text(says).first.wait_for()

    def tag(self, name: str) -> None:
        """Tag what is selected with the App's own tagger."""
        self.page.locator('[data-cy="action-tag-sample-labels"]').click()
        field = self.page.get_by_placeholder("tag")
        field.first.fill(name)
        field.first.press("Enter")
        self.page.get_by_text("Apply", exact=True).click()


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.1)
    return found


def short(line: Line) -> tuple[str, ...]:
    return tuple(filter(None, (line.verdict, line.reason, line.label, line.path)))


def order(workspace: Workspace) -> list[str]:
    """Undecided pictures, most off-topic first, each once."""
    rows = [row for row in score_table.read(workspace).to_pylist() if row["off_topic"] is not None]
    given = current_verdicts(Journal(workspace.folder).lines())
    first = {row["id"]: row for row in reversed(rows) if row["id"] not in given}
    return [row["path"] for row in sorted(first.values(), key=lambda row: -row["off_topic"])]


@contextmanager
def samples(running: Running) -> Iterator[Any]:
    """The App's pictures, as the database holds them."""
    from pymongo import MongoClient

    port = next(c.laddr.port for c in running.mongod().net_connections("tcp") if c.status == "LISTEN")
    with MongoClient("127.0.0.1", port) as client:
        held = client["fiftyone"]
        yield held[next(name for name in held.list_collection_names() if name.startswith("samples."))]
