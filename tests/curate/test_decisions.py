"""What a person says of pictures is recorded on the pictures that were meant, or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.decisions import decide, find, known_labels, normalize_label, parse_paths, plan_drops
from winnow.curate.journal import Journal, Line, current_verdicts
from winnow.curate.manifest import scan
from winnow.curate.workspace import Workspace, find_workspace


@pytest.fixture
def place(folder) -> Workspace:
    """The two classes of six of `folder`, scanned."""
    scan(find_workspace(folder))
    return find_workspace(folder)


@pytest.fixture
def said() -> list[str]:
    return []


def held(place: Workspace) -> dict[str, tuple[str, str | None, str | None]]:
    """Path -> verdict, reason, label."""
    lines = current_verdicts(Journal(place.folder).lines()).values()
    return {line.path: (line.verdict, line.reason, line.label) for line in lines}


def found(place: Workspace, *written: str | Path) -> list[str]:
    return [row["path"] for row in find(place, [os.fspath(path) for path in written])]


# Which pictures are meant


def test_pictures_are_found_by_any_path_that_leads_to_them(place, folder, tmp_path, monkeypatch):
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
        assert found(place, written) == ["red/0.jpg"], written
    monkeypatch.chdir(folder / "red")
    assert found(place, "0.jpg", "./1.jpg", "../blue/2.jpg") == ["red/0.jpg", "red/1.jpg", "blue/2.jpg"]
    monkeypatch.chdir(tmp_path / "reds")
    assert found(place, "0.jpg") == ["red/0.jpg"]


def test_a_picture_named_twice_is_found_once_and_the_order_stays(place):
    assert found(place, "red/3.jpg", "blue/1.jpg", "photos/red/3.jpg") == ["red/3.jpg", "blue/1.jpg"]


def test_pictures_in_a_folder_that_is_a_link_are_found_by_it(tmp_path, folder):
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    scan(find_workspace(tmp_path / "photos"))
    place = find_workspace(tmp_path / "photos")
    assert found(place, "linked/red/0.jpg", "photos/linked/red/1.jpg") == ["linked/red/0.jpg", "linked/red/1.jpg"]


def test_names_with_bytes_that_are_not_utf8_and_percent_signs_are_found(folder, tmp_path):
    odd = os.fsdecode(b"caf\xe9.jpg")
    (folder / "red/0.jpg").rename(folder / "red" / odd)
    (folder / "red/1.jpg").rename(folder / "red" / "50%41.jpg")
    (folder / "red/2.jpg").rename(folder / "red" / "two\nlines.jpg")
    scan(find_workspace(folder))
    place = find_workspace(folder)
    expected = ["red/caf%E9.jpg", "red/50%2541.jpg", "red/two\nlines.jpg"]
    assert found(place, *expected) == expected
    assert found(place, folder / "red" / odd, "photos/red/50%41.jpg", "red/two\nlines.jpg") == expected


def test_a_path_that_means_two_pictures_is_refused(place, folder, monkeypatch):
    (folder / "red/red").mkdir()
    (folder / "red/0.jpg").rename(folder / "red/red/1.jpg")
    scan(place)
    monkeypatch.chdir(folder / "red")
    with pytest.raises(InputError) as caught:
        find(place, ["red/1.jpg"])
    assert str(caught.value) == (
        f"red/1.jpg is red/red/1.jpg from the current folder, but also red/1.jpg of {folder}: "
        "write the whole path; nothing was recorded"
    )
    assert found(place, folder / "red/1.jpg", "../red/red/1.jpg") == ["red/1.jpg", "red/red/1.jpg"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["red/00.jpg"], "there is no picture of {}: red/00.jpg; nothing recorded, did you mean red/0.jpg?"),
        (["elsewhere/3.jpg"], "there is no picture of {}: elsewhere/3.jpg; nothing recorded, did you mean blue/3.jpg?"),
        (
            ["red/0.jpg", "q", "r", "s", "t"],
            "4 of 5 paths are no picture of {}: q, r, s and 1 more; nothing recorded, paths are those of files, "
            "or as `winnow score` prints them",
        ),
        (["red"], "there is no picture of {}: red; nothing recorded, name the pictures in a folder, not the folder"),
        (["photos"], "there is no picture of {}: photos; nothing recorded, name the pictures in a folder, not the "
                     "folder"),
        (["red/new.jpg"], "there is no picture of {}: red/new.jpg; nothing recorded, run `winnow scan` when it is new"),
        (["a\0b"], "there is no picture of {}: a�b; nothing recorded, paths are those of files, or as `winnow score` "
                   "prints them"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_named_and_nothing_is_recorded(place, folder, written, said):
    (folder / "red/new.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError) as caught:
        decide(place, written, "drop")
    assert str(caught.value) == said.format(folder)
    assert Journal(place.folder).lines() == []


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "\ud800.jpg", ""])
def test_a_name_that_no_file_can_have_is_no_picture(place, name):
    with pytest.raises(InputError, match="there is no picture of"):
        find(place, [name])


def test_nothing_named_and_nothing_scanned_are_told(place, tmp_path):
    with pytest.raises(InputError, match="no picture is named: give at least one path"):
        find(place, [])
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match="holds no picture that is known: run `winnow scan` first"):
        find(find_workspace(tmp_path / "new"), ["a.jpg"])


def test_a_picture_that_was_edited_since_the_scan_is_refused(place, folder):
    (folder / "red/0.jpg").write_bytes((folder / "red/1.jpg").read_bytes())
    with pytest.raises(
        InputError, match=r"changed since the last scan: red/0\.jpg; run `winnow scan` and decide again"
    ):
        decide(place, ["blue/0.jpg", "red/0.jpg"], "drop")
    assert held(place) == {}


def test_a_picture_that_has_gone_can_still_be_decided_on(place, folder):
    (folder / "red/0.jpg").unlink()
    decide(place, ["red/0.jpg"], "drop")
    assert held(place) == {"red/0.jpg": ("drop", "off_topic", None)}


def test_many_thousands_of_paths_are_found_quickly(tmp_path):
    paths = [f"{number % 100}/{number}.jpg" for number in range(20_000)]
    rows = [{"id": f"{n:064x}", "path": path, "bytes": 1, "mtime_ns": 1} for n, path in enumerate(paths)]
    (tmp_path / "w").mkdir()
    (tmp_path / "photos").mkdir()
    lance.write_dataset(pa.Table.from_pylist(rows, manifest.schema()), tmp_path / "w/manifest.lance")
    place = Workspace(tmp_path / "w", tmp_path / "photos")
    start = time.process_time()
    assert found(place, *paths[:5000], *(tmp_path / "photos" / path for path in paths[5000:10_000])) == paths[:10_000]
    assert time.process_time() - start < 10


# What is said of them


@pytest.mark.parametrize(
    ("verdict", "options", "line"),
    [
        ("drop", {}, ("drop", "off_topic", None)),
        ("drop", {"reason": "quality"}, ("drop", "quality", None)),
        ("keep", {}, ("keep", None, None)),
        ("relabel", {"label": "red"}, ("relabel", None, "red")),
    ],
)
def test_a_verdict_is_recorded_as_one_batch(place, said, verdict, options, line):
    made = decide(place, ["blue/0.jpg", "photos/blue/1.jpg"], verdict, **options, on_message=said.append)
    assert held(place) == {"blue/0.jpg": line, "blue/1.jpg": line}
    (batch,) = {written.batch for written in Journal(place.folder).lines()}
    assert made == {
        "recorded": 2,
        "batch": batch,
        "verdict": verdict,
        "reason": line[1],
        "label": line[2],
        "skipped": [],
    }
    assert said == []


def test_the_score_at_the_time_is_written_beside_the_verdict(place):
    ids = {row["path"]: row["id"] for row in find(place, ["red/0.jpg", "red/1.jpg"])}
    decide(place, list(ids), "drop", off_topic={ids["red/0.jpg"]: 0.75})
    assert [line.score for line in Journal(place.folder).lines()] == [0.75, None]


def test_exact_copies_are_one_picture(place, folder):
    (folder / "blue/copy.jpg").write_bytes((folder / "red/0.jpg").read_bytes())
    scan(place)
    made = decide(place, ["blue/copy.jpg", "red/0.jpg"], "drop")
    assert made["recorded"] == 1
    assert list(held(place)) == ["blue/copy.jpg"]


def test_a_verdict_follows_the_content_to_another_name(place, folder):
    decide(place, ["red/0.jpg"], "drop")
    (folder / "red/0.jpg").rename(folder / "blue/renamed.jpg")
    scan(place)
    (row,) = find(place, ["blue/renamed.jpg"])
    assert current_verdicts(Journal(place.folder).lines())[row["id"]].verdict == "drop"


def test_a_broken_picture_has_a_verdict_one_that_cannot_be_read_has_none(place, folder, said):
    (folder / "red/broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "red/nowhere.jpg").symlink_to("nothing")
    scan(place)
    made = decide(place, ["red/nowhere.jpg", "red/broken.jpg"], "drop", "unreadable", on_message=said.append)
    assert (made["recorded"], made["skipped"]) == (1, ["red/nowhere.jpg"])
    assert list(held(place)) == ["red/broken.jpg"]
    why = "red/nowhere.jpg: the bytes cannot be read, and it is them that a verdict belongs to"
    assert said == [f"no verdict is kept on {why}"]
    with pytest.raises(InputError) as caught:
        decide(place, ["red/nowhere.jpg"], "drop")
    assert str(caught.value) == f"no verdict can be kept on {why}; mend the file and run `winnow scan`"


@pytest.mark.parametrize(
    ("verdict", "options", "said"),
    [
        ("eat", {}, "a verdict is one of drop, keep, relabel, not 'eat'"),
        ("drop", {"reason": "ugly"}, "a reason is one of off_topic, duplicate, quality, unreadable, other, not 'ugly'"),
        ("keep", {"reason": "quality"}, "only a drop has a reason, not a keep"),
        ("drop", {"label": "x"}, "only a relabel takes a label, not a drop"),
        ("relabel", {}, "a label is needed: the name of a class, as in --relabel roses"),
        ("relabel", {"label": " \t"}, "a label is needed: the name of a class, as in --relabel roses"),
        ("relabel", {"label": "a\nb"}, r"'a\nb' cannot be a label: it has control characters or bytes that are not "
                                       "UTF-8"),
        ("relabel", {"label": "\ud800"}, r"'\ud800' cannot be a label: it has control characters or bytes that are not "
                                         "UTF-8"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(place, verdict, options, said):
    with pytest.raises(InputError) as caught:
        decide(place, ["red/0.jpg"], verdict, **options)
    assert str(caught.value) == said
    assert Journal(place.folder).lines() == []


@pytest.mark.parametrize("label", ["\x1b[31m", "a\u2028b", "a\x85b", "\x7f"])
def test_a_label_that_is_more_than_a_line_is_refused(label):
    with pytest.raises(InputError, match="cannot be a label"):
        normalize_label(label, [])


def test_a_new_label_is_told_once_it_is_known_it_is_not(place, said):
    decide(place, ["red/0.jpg"], "relabel", label="  Löwenzahn 👩‍🌾 ", on_message=said.append)
    assert said == ["Löwenzahn 👩‍🌾 is a new label; labels so far: blue, red"]
    assert known_labels(place, Journal(place.folder)) == ["Löwenzahn 👩‍🌾", "blue", "red"]
    decide(place, ["red/1.jpg"], "relabel", label="Löwenzahn 👩‍🌾", on_message=said.append)
    assert len(said) == 1


def test_a_label_that_looks_the_same_is_the_same(said):
    """A folder on a Mac is spelt in another form of Unicode than what is typed."""
    assert normalize_label("Lo\u0308wenzahn", ["L\u00f6wenzahn"], said.append) == "L\u00f6wenzahn"
    assert normalize_label("L\u00f6wenzahn", ["Lo\u0308wenzahn"], said.append) == "Lo\u0308wenzahn"
    assert said == []


def test_a_list_has_a_path_a_line_in_any_bytes() -> None:
    text = b"\xef\xbb\xbfa.jpg\r\n\n  \nb c.jpg\ncaf\xe9.jpg"
    assert parse_paths(text) == ["a.jpg", "b c.jpg", os.fsdecode(b"caf\xe9.jpg")]


# Rules


def row(path: str, **columns) -> dict:
    """A row of scores: undecided, on topic, alone, without a problem."""
    plain = {"id": f"id-{path}", "path": path, "off_topic": 0.1, "off_topic_prior": 0.1, "duplicate_group": None}
    return plain | {"duplicate_keep": None, "verdict": None, "quality": [], "problem": None} | columns


def planned(rows: list[dict], **rules) -> dict[str, str]:
    """Path -> reason."""
    text, number = pa.string(), pa.float64()
    types = {"id": text, "path": text, "off_topic": number, "off_topic_prior": number, "duplicate_group": pa.int64()}
    types |= {"duplicate_keep": pa.bool_(), "verdict": text, "quality": pa.list_(text), "problem": text}
    decisions = plan_drops(pa.Table.from_pylist(rows, pa.schema(list(types.items()))), **rules)
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
    (decision,) = plan_drops(pa.Table.from_pylist(rows[1:2]), off_topic_above=0.5)
    assert decision.score == 0.0


def test_pictures_that_break_a_rule_of_quality_are_dropped():
    assert planned([row("a", quality=["too dark", "blurred"]), row("b")], quality=True) == {"a": "quality"}


def group(*members: str, keep: str, **of_one) -> list[dict]:
    """Rows of one group of duplicates; `of_one` maps a path to other columns."""
    return [row(m, duplicate_group=1, duplicate_keep=m == keep, **of_one.get(m, {})) for m in members]


def test_of_duplicates_all_but_the_one_that_is_kept_are_dropped():
    assert planned([*group("a", "b", "c", keep="b"), row("d")], duplicates=True) == {"a": "duplicate", "c": "duplicate"}


def test_a_verdict_protects():
    for verdict in ("keep", "relabel"):
        rows = group("a", "b", "c", keep="b", a={"verdict": verdict})
        assert planned(rows, duplicates=True) == {"c": "duplicate"}
    bad = {"quality": ["too dark"], "off_topic_prior": 1.0, "problem": "truncated"}
    rules = {"unreadable": True, "duplicates": True, "off_topic_above": 0.5, "quality": True}
    for verdict in ("keep", "relabel", "drop"):
        assert planned([row("a", verdict=verdict, **bad)], **rules) == {}


def test_when_the_one_to_be_kept_was_dropped_another_is_kept():
    rows = group("a", "b", "c", "d", keep="b", b={"verdict": "drop"})
    assert planned(rows, duplicates=True) == {"c": "duplicate", "d": "duplicate"}
    assert planned(rows, duplicates=True, area={"id-c": 100, "id-a": 50}) == {"a": "duplicate", "d": "duplicate"}
    kept = group("a", "b", "c", "d", keep="b", b={"verdict": "drop"}, d={"verdict": "keep"})
    assert planned(kept, duplicates=True, area={"id-c": 100}) == {"a": "duplicate", "c": "duplicate"}


def test_the_last_one_of_a_group_is_kept():
    rows = group("a", "b", "c", keep="b", b={"verdict": "drop"}, c={"verdict": "drop"})
    assert planned(rows, duplicates=True) == {}


def test_when_another_rule_drops_the_one_to_be_kept_another_is_kept():
    rows = group("a", "b", "c", keep="b", b={"quality": ["too dark"]})
    assert planned(rows, duplicates=True, quality=True) == {"b": "duplicate", "c": "duplicate"}
    assert planned(rows, duplicates=True) == {"a": "duplicate", "c": "duplicate"}


def test_a_group_of_which_none_can_stay_is_dropped_for_its_own_reasons():
    rows = group("a", "b", keep="b", a={"off_topic_prior": 0.9}, b={"off_topic_prior": 0.8, "quality": ["too dark"]})
    rules = {"duplicates": True, "off_topic_above": 0.5, "quality": True}
    assert planned(rows, **rules) == {"a": "off_topic", "b": "off_topic"}


def test_a_picture_gets_the_first_reason_that_holds():
    bad = {"quality": ["too dark"], "off_topic_prior": 1.0}
    rows = group("a", "b", "c", keep="c", a=bad | {"problem": "truncated"}, b=bad)
    rows += [row("d", **bad), row("e", quality=["too dark"])]
    rules = {"unreadable": True, "duplicates": True, "off_topic_above": 0.5, "quality": True}
    expected = {"a": "unreadable", "b": "duplicate", "d": "off_topic", "e": "quality"}
    assert planned(rows, **rules) == expected


def test_copies_of_one_file_get_one_decision_by_the_first_path():
    rows = [row("a", quality=["too dark"]), row("b", id="id-a", quality=["too dark"])]
    assert planned(rows, quality=True) == {"a": "quality"}


def test_verdicts_given_since_the_scores_were_written_count():
    rows = [row(path, quality=["too dark"], verdict="keep" if path == "b" else None) for path in "abc"]
    now = {"id-a": Line("t", "w", "b", "id-a", "a", "keep"), "gone": Line("t", "w", "b", "gone", "g", "drop")}
    assert planned(rows, quality=True) == {"a": "quality", "c": "quality"}
    assert planned(rows, quality=True, verdicts=now) == {"b": "quality", "c": "quality"}


def test_every_group_keeps_at_least_one_unless_each_has_a_reason_of_its_own():
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
