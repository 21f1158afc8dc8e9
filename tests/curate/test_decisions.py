"""Verdicts are recorded on exactly the pictures that the paths stand for, or not at all; rules plan drops."""

from __future__ import annotations

import os
import time
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from support.errors import input_error

from winnow.commands.remedies import REMEDIES, with_remedy
from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.decisions import (
    PruneRules,
    decide,
    find_rows,
    known_labels,
    normalize_label,
    parse_paths,
    plan_drops,
)
from winnow.curate.journal import Journal, Line, current_verdicts
from winnow.curate.manifest import scan
from winnow.curate.workspace import Workspace, find_workspace


@pytest.fixture
def messages() -> list[str]:
    return []


def verdicts_by_path(workspace: Workspace) -> dict[str, tuple[str, str | None, str | None]]:
    """Map path to current verdict, reason and label."""
    lines = current_verdicts(Journal(workspace.folder).lines()).values()
    return {line.path: (line.verdict, line.reason, line.label) for line in lines}


def find_paths(workspace: Workspace, *written: str | Path) -> list[str]:
    return [row["path"] for row in find_rows(workspace, [os.fspath(path) for path in written])]


# Paths


def test_pictures_are_found_by_any_path_that_leads_to_them(workspace, folder, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "one.jpg").symlink_to(folder / "red/0.jpg")
    (tmp_path / "reds").symlink_to(folder / "red")
    (tmp_path / "chain.jpg").symlink_to("one.jpg")
    for written in (
        "red/0.jpg",  # as the manifest has it, from anywhere
        "./red/0.jpg",
        "red//0.jpg",
        "blue/../red/0.jpg",
        "photos/red/0.jpg",  # from the current folder
        "./photos/blue/../red/0.jpg",
        folder / "red/0.jpg",
        tmp_path / "link/red/0.jpg",
        "link/red/0.jpg",
        "reds/0.jpg",
        "one.jpg",
        "chain.jpg",
    ):
        assert find_paths(workspace, written) == ["red/0.jpg"], written
    monkeypatch.chdir(folder / "red")
    assert find_paths(workspace, "0.jpg", "./1.jpg", "../blue/2.jpg") == ["red/0.jpg", "red/1.jpg", "blue/2.jpg"]
    monkeypatch.chdir(tmp_path / "reds")
    assert find_paths(workspace, "0.jpg") == ["red/0.jpg"]


def test_a_picture_named_twice_is_found_once_and_the_order_stays(workspace):
    assert find_paths(workspace, "red/3.jpg", "blue/1.jpg", "photos/red/3.jpg") == ["red/3.jpg", "blue/1.jpg"]


def test_pictures_in_a_folder_that_is_a_link_are_found_by_it(tmp_path, folder):
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    scan(find_workspace(tmp_path / "photos"))
    workspace = find_workspace(tmp_path / "photos")
    assert find_paths(workspace, "linked/red/0.jpg", "photos/linked/red/1.jpg") == [
        "linked/red/0.jpg",
        "linked/red/1.jpg",
    ]


def test_names_with_bytes_that_are_not_utf8_and_percent_signs_are_found(folder, tmp_path):
    odd = os.fsdecode(b"caf\xe9.jpg")
    (folder / "red/0.jpg").rename(folder / "red" / odd)
    (folder / "red/1.jpg").rename(folder / "red" / "50%41.jpg")
    (folder / "red/2.jpg").rename(folder / "red" / "two\nlines.jpg")
    scan(find_workspace(folder))
    workspace = find_workspace(folder)
    expected = ["red/caf%E9.jpg", "red/50%2541.jpg", "red/two\nlines.jpg"]
    assert find_paths(workspace, *expected) == expected
    assert find_paths(workspace, folder / "red" / odd, "photos/red/50%41.jpg", "red/two\nlines.jpg") == expected


def test_a_path_that_means_two_pictures_is_refused(workspace, folder, monkeypatch):
    (folder / "red/red").mkdir()
    (folder / "red/0.jpg").rename(folder / "red/red/1.jpg")
    scan(workspace)
    monkeypatch.chdir(folder / "red")
    message = f"red/1.jpg is red/red/1.jpg from the current folder, but also red/1.jpg of {folder}; "
    with input_error(f"^{message}nothing was recorded$", "whole-path"):
        find_rows(workspace, ["red/1.jpg"])
    assert find_paths(workspace, folder / "red/1.jpg", "../red/red/1.jpg") == ["red/1.jpg", "red/red/1.jpg"]


@pytest.mark.parametrize(
    ("written", "names", "remedy"),
    [
        (["red/00.jpg"], "red/00.jpg", "did you mean red/0.jpg?"),
        (["elsewhere/3.jpg"], "elsewhere/3.jpg", "did you mean blue/3.jpg?"),
        (["red/0.jpg", "q", "r", "s", "t"], "q, r, s and 1 more", REMEDIES["picture-paths"]),
        (["red"], "red", REMEDIES["not-a-folder"]),
        (["photos"], "photos", REMEDIES["not-a-folder"]),
        (["red/new.jpg"], "red/new.jpg", REMEDIES["scan-new-file"]),
        (["a\0b"], "a�b", REMEDIES["picture-paths"]),
    ],
)
def test_paths_that_are_no_picture_are_named_and_nothing_is_recorded(workspace, folder, written, names, remedy):
    (folder / "red/new.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError) as caught:
        decide(workspace, written, "drop")
    count = "there is" if len(written) == 1 else "4 of 5 paths are"
    assert str(caught.value) == f"{count} no picture of {folder}: {names}; nothing was recorded"
    assert with_remedy(caught.value) == f"{caught.value}: {remedy}"
    assert Journal(workspace.folder).lines() == []


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "\ud800.jpg", ""])
def test_a_name_that_no_file_can_have_is_no_picture(workspace, name):
    with pytest.raises(InputError, match="there is no picture of"):
        find_rows(workspace, [name])


def test_no_paths_and_an_empty_manifest_are_refused(workspace, tmp_path):
    with input_error("no path of a picture is given$"):
        find_rows(workspace, [])
    (tmp_path / "new").mkdir()
    with input_error("the manifest has no picture of", "scan"):
        find_rows(find_workspace(tmp_path / "new"), ["a.jpg"])


def test_a_picture_that_was_edited_since_the_scan_is_refused(workspace, folder):
    (folder / "red/0.jpg").write_bytes((folder / "red/1.jpg").read_bytes())
    with input_error(r"changed since the last scan: red/0\.jpg$", "scan-and-decide"):
        decide(workspace, ["blue/0.jpg", "red/0.jpg"], "drop")
    assert verdicts_by_path(workspace) == {}


def test_a_missing_file_can_still_get_a_verdict(workspace, folder):
    (folder / "red/0.jpg").unlink()
    decide(workspace, ["red/0.jpg"], "drop")
    assert verdicts_by_path(workspace) == {"red/0.jpg": ("drop", "off_topic", None)}


def test_many_thousands_of_paths_are_found_quickly(tmp_path):
    paths = [f"{number % 100}/{number}.jpg" for number in range(20_000)]
    rows = [{"id": f"{n:064x}", "path": path, "bytes": 1, "mtime_ns": 1} for n, path in enumerate(paths)]
    (tmp_path / "w").mkdir()
    (tmp_path / "photos").mkdir()
    lance.write_dataset(pa.Table.from_pylist(rows, manifest.schema()), tmp_path / "w/manifest.lance")
    workspace = Workspace(tmp_path / "w", tmp_path / "photos")
    start = time.process_time()
    assert (
        find_paths(workspace, *paths[:5000], *(tmp_path / "photos" / path for path in paths[5000:10_000]))
        == paths[:10_000]
    )
    assert time.process_time() - start < 10


# Verdicts


@pytest.mark.parametrize(
    ("verdict", "options", "line"),
    [
        ("drop", {}, ("drop", "off_topic", None)),
        ("drop", {"reason": "quality"}, ("drop", "quality", None)),
        ("keep", {}, ("keep", None, None)),
        ("relabel", {"label": "red"}, ("relabel", None, "red")),
    ],
)
def test_a_verdict_is_recorded_as_one_batch(workspace, messages, verdict, options, line):
    result = decide(workspace, ["blue/0.jpg", "photos/blue/1.jpg"], verdict, **options, on_message=messages.append)
    assert verdicts_by_path(workspace) == {"blue/0.jpg": line, "blue/1.jpg": line}
    (batch,) = {written.batch for written in Journal(workspace.folder).lines()}
    assert result.to_json() == {
        "recorded": 2,
        "batch": batch,
        "verdict": verdict,
        "reason": line[1],
        "label": line[2],
        "skipped": [],
    }
    assert messages == []


def test_the_score_at_the_time_is_written_beside_the_verdict(workspace):
    ids = {row["path"]: row["id"] for row in find_rows(workspace, ["red/0.jpg", "red/1.jpg"])}
    decide(workspace, list(ids), "drop", off_topic={ids["red/0.jpg"]: 0.75})
    assert [line.score for line in Journal(workspace.folder).lines()] == [0.75, None]


def test_exact_copies_are_one_picture(workspace, folder):
    (folder / "blue/copy.jpg").write_bytes((folder / "red/0.jpg").read_bytes())
    scan(workspace)
    result = decide(workspace, ["blue/copy.jpg", "red/0.jpg"], "drop")
    assert result.recorded == 1
    assert list(verdicts_by_path(workspace)) == ["blue/copy.jpg"]


def test_a_verdict_follows_the_content_to_another_name(workspace, folder):
    decide(workspace, ["red/0.jpg"], "drop")
    (folder / "red/0.jpg").rename(folder / "blue/renamed.jpg")
    scan(workspace)
    (row,) = find_rows(workspace, ["blue/renamed.jpg"])
    assert current_verdicts(Journal(workspace.folder).lines())[row["id"]].verdict == "drop"


def test_a_broken_picture_gets_a_verdict_an_unreadable_file_does_not(workspace, folder, messages):
    (folder / "red/broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "red/nowhere.jpg").symlink_to("nothing")
    scan(workspace)
    result = decide(workspace, ["red/nowhere.jpg", "red/broken.jpg"], "drop", "unreadable", on_message=messages.append)
    assert (result.recorded, result.skipped) == (1, ["red/nowhere.jpg"])
    assert list(verdicts_by_path(workspace)) == ["red/broken.jpg"]
    message = "no verdict is recorded on red/nowhere.jpg: a verdict belongs to the bytes, which are unreadable"
    assert messages == [message]
    with input_error(f"^{message}$", "repair"):
        decide(workspace, ["red/nowhere.jpg"], "drop")


@pytest.mark.parametrize(
    ("verdict", "options", "message"),
    [
        ("eat", {}, "a verdict is one of drop, keep, relabel, not 'eat'"),
        ("drop", {"reason": "ugly"}, "a reason is one of off_topic, duplicate, quality, unreadable, other, not 'ugly'"),
        ("keep", {"reason": "quality"}, "only a drop has a reason, not a keep"),
        ("drop", {"label": "x"}, "only a relabel takes a label, not a drop"),
        ("relabel", {}, "the label is empty"),
        ("relabel", {"label": " \t"}, "the label is empty"),
        ("relabel", {"label": "a\nb"}, r"'a\nb' cannot be a label: it has control characters or bytes that are not "
                                       "UTF-8"),
        ("relabel", {"label": "\ud800"}, r"'\ud800' cannot be a label: it has control characters or bytes that are not "
                                         "UTF-8"),
    ],
)  # fmt: skip
def test_an_invalid_verdict_is_refused(workspace, verdict, options, message):
    with pytest.raises(InputError) as caught:
        decide(workspace, ["red/0.jpg"], verdict, **options)
    assert str(caught.value) == message
    assert Journal(workspace.folder).lines() == []


@pytest.mark.parametrize("label", ["\x1b[31m", "a\u2028b", "a\x85b", "\x7f"])
def test_a_label_that_is_not_one_printable_line_is_refused(label):
    with pytest.raises(InputError, match="cannot be a label"):
        normalize_label(label, [])


def test_a_new_label_is_reported_the_first_time(workspace, messages):
    decide(workspace, ["red/0.jpg"], "relabel", label="  Löwenzahn 👩‍🌾 ", on_message=messages.append)
    assert messages == ["Löwenzahn 👩‍🌾 is a new label; labels so far: blue, red"]
    assert known_labels(workspace, Journal(workspace.folder)) == ["Löwenzahn 👩‍🌾", "blue", "red"]
    decide(workspace, ["red/1.jpg"], "relabel", label="Löwenzahn 👩‍🌾", on_message=messages.append)
    assert len(messages) == 1


def test_a_label_that_looks_the_same_is_the_same(messages):
    """Folder names on a Mac have another Unicode form than text that is typed."""
    assert normalize_label("Lo\u0308wenzahn", ["L\u00f6wenzahn"], messages.append) == "L\u00f6wenzahn"
    assert normalize_label("L\u00f6wenzahn", ["Lo\u0308wenzahn"], messages.append) == "Lo\u0308wenzahn"
    assert messages == []


def test_a_list_has_one_path_per_line_in_any_bytes() -> None:
    text = b"\xef\xbb\xbfa.jpg\r\n\n  \nb c.jpg\ncaf\xe9.jpg"
    assert parse_paths(text) == ["a.jpg", "b c.jpg", os.fsdecode(b"caf\xe9.jpg")]


# Rules


def row(path: str, **columns) -> dict:
    """A row of scores: undecided, on topic, alone, without a problem."""
    plain = {"id": f"id-{path}", "path": path, "off_topic": 0.1, "off_topic_prior": 0.1, "duplicate_group": None}
    return plain | {"duplicate_keep": None, "verdict": None, "quality": [], "problem": None} | columns


def planned(rows: list[dict], verdicts=None, areas=None, **rules) -> dict[str, str]:
    """Map the path of every planned drop to its reason."""
    text, number = pa.string(), pa.float64()
    types = {"id": text, "path": text, "off_topic": number, "off_topic_prior": number, "duplicate_group": pa.int64()}
    types |= {"duplicate_keep": pa.bool_(), "verdict": text, "quality": pa.list_(text), "problem": text}
    decisions = plan_drops(
        pa.Table.from_pylist(rows, pa.schema(list(types.items()))), PruneRules(**rules), verdicts, areas
    )
    assert {decision.verdict for decision in decisions} <= {"drop"}
    assert [decision.id for decision in decisions] == [f"id-{decision.path}" for decision in decisions]
    return {decision.path: decision.reason for decision in decisions}


def test_no_rule_plans_nothing():
    assert planned([row("a", quality=["too dark"], off_topic_prior=1.0, problem="truncated")]) == {}
    assert planned([]) == {}


def test_pictures_with_a_problem_are_dropped_when_they_have_an_id():
    rows = [
        row("a", problem="truncated", off_topic=None, off_topic_prior=None),
        row("b", problem="x", id=None),
        row("c"),
    ]
    assert planned(rows, unreadable=True) == {"a": "unreadable"}


def test_the_bound_is_compared_with_the_prior_and_excluded():
    rows = [row("a", off_topic_prior=0.5), row("b", off_topic_prior=0.6, off_topic=0.0), row("c", off_topic_prior=None)]
    assert planned(rows, off_topic_above=0.5) == {"b": "off_topic"}
    (decision,) = plan_drops(pa.Table.from_pylist(rows[1:2]), PruneRules(off_topic_above=0.5))
    assert decision.score == 0.0


def test_pictures_that_break_a_rule_of_quality_are_dropped():
    assert planned([row("a", quality=["too dark", "blurred"]), row("b")], quality=True) == {"a": "quality"}


def group(*members: str, keep: str, **columns) -> list[dict]:
    """Rows of one group of duplicates; `columns` maps a path to other values."""
    return [row(m, duplicate_group=1, duplicate_keep=m == keep, **columns.get(m, {})) for m in members]


def test_all_duplicates_but_one_are_dropped():
    assert planned([*group("a", "b", "c", keep="b"), row("d")], duplicates=True) == {"a": "duplicate", "c": "duplicate"}


def test_a_picture_with_a_verdict_is_never_dropped():
    for verdict in ("keep", "relabel"):
        rows = group("a", "b", "c", keep="b", a={"verdict": verdict})
        assert planned(rows, duplicates=True) == {"c": "duplicate"}
    bad = {"quality": ["too dark"], "off_topic_prior": 1.0, "problem": "truncated"}
    rules = {"unreadable": True, "duplicates": True, "off_topic_above": 0.5, "quality": True}
    for verdict in ("keep", "relabel", "drop"):
        assert planned([row("a", verdict=verdict, **bad)], **rules) == {}


def test_when_the_picture_to_keep_was_dropped_another_is_kept():
    rows = group("a", "b", "c", "d", keep="b", b={"verdict": "drop"})
    assert planned(rows, duplicates=True) == {"c": "duplicate", "d": "duplicate"}
    assert planned(rows, duplicates=True, areas={"id-c": 100, "id-a": 50}) == {"a": "duplicate", "d": "duplicate"}
    kept = group("a", "b", "c", "d", keep="b", b={"verdict": "drop"}, d={"verdict": "keep"})
    assert planned(kept, duplicates=True, areas={"id-c": 100}) == {"a": "duplicate", "c": "duplicate"}


def test_the_last_one_of_a_group_is_kept():
    rows = group("a", "b", "c", keep="b", b={"verdict": "drop"}, c={"verdict": "drop"})
    assert planned(rows, duplicates=True) == {}


def test_when_another_rule_drops_the_picture_to_keep_another_is_kept():
    rows = group("a", "b", "c", keep="b", b={"quality": ["too dark"]})
    assert planned(rows, duplicates=True, quality=True) == {"b": "duplicate", "c": "duplicate"}
    assert planned(rows, duplicates=True) == {"a": "duplicate", "c": "duplicate"}


def test_a_group_that_other_rules_drop_as_a_whole_gets_their_reasons():
    rows = group("a", "b", keep="b", a={"off_topic_prior": 0.9}, b={"off_topic_prior": 0.8, "quality": ["too dark"]})
    rules = {"duplicates": True, "off_topic_above": 0.5, "quality": True}
    assert planned(rows, **rules) == {"a": "off_topic", "b": "off_topic"}


def test_a_picture_gets_the_first_reason_that_applies():
    bad = {"quality": ["too dark"], "off_topic_prior": 1.0}
    rows = group("a", "b", "c", keep="c", a=bad | {"problem": "truncated"}, b=bad)
    rows += [row("d", **bad), row("e", quality=["too dark"])]
    rules = {"unreadable": True, "duplicates": True, "off_topic_above": 0.5, "quality": True}
    expected = {"a": "unreadable", "b": "duplicate", "d": "off_topic", "e": "quality"}
    assert planned(rows, **rules) == expected


def test_copies_of_one_file_get_one_decision_by_the_first_path():
    rows = [row("a", quality=["too dark"]), row("b", id="id-a", quality=["too dark"])]
    assert planned(rows, quality=True) == {"a": "quality"}


def test_given_verdicts_replace_those_in_the_scores():
    rows = [row(path, quality=["too dark"], verdict="keep" if path == "b" else None) for path in "abc"]
    now = {"id-a": Line("t", "w", "b", "id-a", "a", "keep"), "gone": Line("t", "w", "b", "gone", "g", "drop")}
    assert planned(rows, quality=True) == {"a": "quality", "c": "quality"}
    assert planned(rows, quality=True, verdicts=now) == {"b": "quality", "c": "quality"}


def test_every_group_keeps_one_picture_unless_other_rules_drop_all():
    random = np.random.default_rng(3)
    for _ in range(200):
        rows = []
        for number in range(12):
            verdict = random.choice([None, None, None, "drop", "keep", "relabel"])
            rows.append(
                row(
                    f"{number:02d}",
                    duplicate_group=int(random.integers(0, 4)),
                    verdict=verdict,
                    off_topic_prior=float(random.random()),
                )
            )
        for number in range(4):
            members = [one for one in rows if one["duplicate_group"] == number]
            for one in members:
                one["duplicate_keep"] = one is members[-1]
        dropped = planned(rows, duplicates=True, off_topic_above=0.7)
        for number in range(4):
            members = [one for one in rows if one["duplicate_group"] == number]
            left = [one["path"] for one in members if one["path"] not in dropped and one["verdict"] != "drop"]
            could = [one for one in members if one["verdict"] != "drop" and one["off_topic_prior"] <= 0.7]
            protected = [one["path"] for one in members if one["verdict"] in ("keep", "relabel")]
            assert bool(left) == bool(could or protected)
            assert set(protected) <= set(left)
            undecided = [path for path in left if path not in protected]
            assert len(undecided) <= 1
