"""The journal loses nothing: not by kills, incomplete lines, full disks, or other writers at the same time."""

from __future__ import annotations

import getpass
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.errors import input_error
from support.project import PROJECT

from winnow import __version__
from winnow.curate.journal import UNDO, Decision, Journal, Line, current_verdicts


def drop(*ids: str, reason: str = "off_topic") -> list[Decision]:
    return [Decision(id, f"a/{id}.jpg", "drop", reason, score=0.5) for id in ids]


def keep(*ids: str) -> list[Decision]:
    return [Decision(id, f"a/{id}.jpg", "keep") for id in ids]


def relabel(label: str, *ids: str) -> list[Decision]:
    return [Decision(id, f"a/{id}.jpg", "relabel", label=label) for id in ids]


def verdicts_by_id(journal: Journal) -> dict[str, str]:
    """Map id to current verdict, with the label of a relabel."""
    lines = current_verdicts(journal.lines()).values()
    return {line.id: line.verdict + (f" {line.label}" if line.label else "") for line in lines}


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def journal(tmp_path, messages) -> Journal:
    return Journal(tmp_path / "w", messages.append)


def test_a_journal_that_does_not_exist_is_empty(journal):
    assert journal.lines() == []
    assert current_verdicts([]) == {}
    assert not journal.file.parent.exists()


def test_a_line_records_who_decided_what_when_and_with_which_version(journal):
    before = datetime.now(UTC)
    batch = journal.record([Decision("i1", "a/1.jpg", "relabel", label="Gänse\u2028👩‍🌾", score=0.25)])
    (line,) = journal.lines()
    assert line == Line(
        when=line.when,
        who=getpass.getuser(),
        batch=batch,
        id="i1",
        path="a/1.jpg",
        verdict="relabel",
        reason=None,
        label="Gänse\u2028👩‍🌾",
        score=0.25,
        version=__version__,
        undoes=None,
    )
    assert abs((datetime.fromisoformat(line.when) - before).total_seconds()) < 5
    assert datetime.fromisoformat(line.when).utcoffset().total_seconds() == 0
    (written,) = journal.file.read_bytes().splitlines()
    assert json.loads(written) == vars(line)
    assert written.isascii()


def test_nothing_to_record_writes_nothing(journal):
    assert journal.record([]) == ""
    assert not journal.file.exists()


def test_the_user_may_be_named_or_unknown(journal, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # no such user in the system's list
    journal.record(keep("a"))
    journal.record(keep("b"), who=os.fsdecode(b"Zo\xeb"))
    assert [line.who for line in journal.lines()] == ["unknown", "Zo%EB"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="which file is synced is read from /proc")
def test_lines_are_on_the_disk_and_a_new_file_is_in_its_folder_before_they_are_reported(journal, monkeypatch):
    synced: list[tuple[str, int]] = []
    really = os.fsync

    def note(descriptor: int) -> None:
        size = journal.file.stat().st_size if journal.file.exists() else 0
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, size))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    journal.record(drop("a"))
    size = journal.file.stat().st_size
    assert synced == [("w", 0), ("journal.jsonl", size)]
    journal.record(drop("b"))
    assert synced[2:] == [("journal.jsonl", journal.file.stat().st_size)]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_none(journal, score):
    journal.record([Decision("a", "a", "keep", score=score)])
    assert journal.lines()[0].score is None


@pytest.mark.parametrize(
    "wrong",
    [
        Decision("a", "a", "eat"),
        Decision("a", "a", "relabel"),
        Decision("a", "a", "undo", label=3),
        Decision(7, "a", "keep"),
    ],
)
def test_an_invalid_decision_is_not_recorded(journal, wrong):
    with pytest.raises(ValueError, match="this verdict is not valid: Line"):
        journal.record([*keep("b"), wrong])
    assert journal.lines() == []


def test_the_last_verdict_is_the_current_one(journal):
    journal.record(drop("a", "b"))
    journal.record(keep("b"))
    journal.record(relabel("x", "c"))
    journal.record(relabel("y", "c"))
    assert verdicts_by_id(journal) == {"a": "drop", "b": "keep", "c": "relabel y"}
    assert [line.id for line in journal.lines()] == ["a", "b", "b", "c", "c"]


ODD = st.text(st.characters(), min_size=1, max_size=30)


@settings(max_examples=40)
@given(st.lists(st.tuples(ODD, ODD, ODD), min_size=1, max_size=5))
def test_any_name_is_one_line_and_comes_back(tmp_path_factory, names):
    journal = Journal(tmp_path_factory.mktemp("w"))
    journal.record([Decision(id, path, "relabel", label=label) for id, path, label in names])
    assert [(line.id, line.path, line.label) for line in journal.lines()] == names
    assert len(journal.file.read_text().splitlines()) == len(names)


def test_batches_have_names_of_their_own_that_sort_by_time(journal):
    names = [journal.record(keep("a")) for _ in range(50)]
    assert names == sorted(set(names))


# Undo


def test_undo_of_nothing_gives_nothing(journal):
    assert journal.undo() == []
    journal.record(drop("a"))
    journal.undo()
    size = journal.file.stat().st_size
    assert journal.undo() == []
    assert journal.undo(5) == []
    assert journal.file.stat().st_size == size


def test_undo_adds_a_line_and_takes_none_away(journal):
    batch = journal.record(drop("a", "b"))
    (before, _) = journal.lines()
    lines = journal.undo()
    assert journal.lines()[2:] == lines
    assert [(line.id, line.verdict, line.undoes) for line in lines] == [("a", UNDO, batch), ("b", UNDO, batch)]
    assert [(line.path, line.reason, line.score) for line in lines] == [
        ("a/a.jpg", None, None),
        ("a/b.jpg", None, None),
    ]
    assert lines[0].batch == lines[1].batch != batch
    assert journal.lines()[0] == before
    assert verdicts_by_id(journal) == {}


def test_undo_restores_the_previous_verdict(journal):
    journal.record(relabel("x", "a"))
    last = journal.record(drop("a", "b", reason="quality"))
    first, second = journal.undo()
    assert (first.verdict, first.label, first.reason, first.undoes) == ("relabel", "x", None, last)
    assert (second.verdict, second.undoes) == (UNDO, last)
    assert verdicts_by_id(journal) == {"a": "relabel x"}


def test_undo_after_undo_goes_further_back(journal):
    journal.record(keep("a"))
    journal.record(drop("a"))
    journal.record(relabel("x", "a"))
    after = []
    for _ in range(4):
        journal.undo()
        after.append(verdicts_by_id(journal))
    assert after == [{"a": "drop"}, {"a": "keep"}, {}, {}]


def test_a_verdict_after_an_undo_is_the_next_to_be_undone(journal):
    journal.record(keep("a"))
    journal.record(drop("a"))
    journal.undo()
    journal.record(relabel("x", "a"))
    journal.undo()
    assert verdicts_by_id(journal) == {"a": "keep"}
    journal.undo()
    assert verdicts_by_id(journal) == {}


def test_several_batches_are_undone_at_once_the_newest_first(journal):
    one, two, three = journal.record(keep("a")), journal.record(drop("a", "b")), journal.record(relabel("x", "a"))
    lines = journal.undo(2)
    assert [(line.undoes, line.id, line.verdict) for line in lines] == [
        (three, "a", "drop"),
        (two, "a", "keep"),
        (two, "b", UNDO),
    ]
    assert verdicts_by_id(journal) == {"a": "keep"}
    assert [line.undoes for line in journal.undo(7)] == [one]


def test_two_verdicts_on_a_picture_in_one_batch_are_undone_together(journal):
    journal.record([*drop("a"), *keep("a")])
    assert verdicts_by_id(journal) == {"a": "keep"}
    assert len(journal.undo()) == 1
    assert verdicts_by_id(journal) == {}


def test_an_undo_that_was_cut_off_is_finished_by_the_next(journal):
    journal.record(keep("b"))
    batch = journal.record(drop("a", "b", "c"))
    journal.undo()
    lines = journal.file.read_bytes().splitlines(keepends=True)
    journal.file.write_bytes(b"".join(lines[:5]))  # killed after the first of three lines
    assert verdicts_by_id(journal) == {"b": "drop", "c": "drop"}
    assert [(line.id, line.undoes) for line in journal.undo()] == [("b", batch), ("c", batch)]
    assert verdicts_by_id(journal) == {"b": "keep"}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["drop", "keep", "relabel x", "relabel y"])),
        st.integers(1, 3),
    ),
    max_size=14,
)


@settings(max_examples=30)
@given(STEPS)
def test_undo_leaves_the_same_verdicts_as_never_having_decided(tmp_path_factory, steps):
    """Compare with a stack: a number removes as many batches from it."""
    journal = Journal(tmp_path_factory.mktemp("w"))
    stack: list[tuple[str, str]] = []
    for step in steps:
        if isinstance(step, int):
            journal.undo(step)
            del stack[max(0, len(stack) - step) :]
        else:
            id, verdict = step
            kind, _, label = verdict.partition(" ")
            journal.record([Decision(id, id, kind, label=label or None)])
            stack.append(step)
        assert verdicts_by_id(journal) == dict(stack)


# Damage


LINE = json.dumps(
    {
        "when": "2026-01-02T03:04:05.678+00:00",
        "who": "Zoë",
        "batch": "20260102-030405-678901-abcdef",
        "id": "i9",
        "path": "Gänse/👩‍🌾 \u2028.jpg",
        "verdict": "relabel",
        "reason": None,
        "label": "Löwenzahn",
        "score": 0.123,
        "version": "0.1.0",
        "undoes": None,
    },
    ensure_ascii=False,
).encode()  # as another program may write it: with characters of several bytes


def test_a_line_that_another_program_wrote_is_read(journal):
    journal.file.parent.mkdir()
    journal.file.write_bytes(LINE + b"\r\n\n")
    (line,) = journal.lines()
    assert (line.who, line.path, line.label) == ("Zoë", "Gänse/👩‍🌾 \u2028.jpg", "Löwenzahn")


def test_unknown_fields_are_ignored_and_missing_ones_are_none(journal, messages):
    journal.file.parent.mkdir()
    few = {"when": "w", "who": "x", "batch": "b", "id": "i", "path": "p", "verdict": "keep", "mood": ["good"]}
    journal.file.write_text(json.dumps(few) + "\n")
    assert journal.lines() == [Line("w", "x", "b", "i", "p", "keep")]
    assert messages == []


@pytest.mark.slow
def test_an_incomplete_line_of_any_length_is_skipped_and_then_repaired(journal, messages):
    journal.record(drop("a"))
    whole, good = journal.lines(), journal.file.read_bytes()
    torn_file = journal.file.with_name("journal.torn")
    for length in range(1, len(LINE)):
        torn = LINE[:length]
        journal.file.write_bytes(good + torn)
        torn_file.unlink(missing_ok=True)
        assert journal.lines() == whole
        assert messages == []
        journal.record(keep("b"))
        assert [line.id for line in journal.lines()] == ["a", "b"]
        assert journal.file.read_bytes().startswith(good)
        assert torn_file.read_bytes() == torn + b"\n"
        assert messages == [
            f"{journal.file} ended in an incomplete line, as after a crash; "
            f"its {length} bytes were moved to journal.torn"
        ]
        messages.clear()


def test_a_whole_line_without_its_newline_counts_and_stays(journal, messages):
    """As an editor leaves a file."""
    journal.file.parent.mkdir()
    journal.file.write_bytes(LINE)
    assert verdicts_by_id(journal) == {"i9": "relabel Löwenzahn"}
    journal.record(keep("b"))
    assert verdicts_by_id(journal) == {"i9": "relabel Löwenzahn", "b": "keep"}
    assert messages == []
    assert not journal.file.with_name("journal.torn").exists()


def test_incomplete_lines_are_repaired_by_undo_too_and_all_are_kept(journal, messages):
    journal.record(drop("a"))
    for fragment in (b'{"when": "2', b"\x00\x00\x00\x00"):
        with journal.file.open("ab") as stream:
            stream.write(fragment)
        journal.undo()
    assert verdicts_by_id(journal) == {}
    assert journal.file.with_name("journal.torn").read_bytes() == b'{"when": "2\n\x00\x00\x00\x00\n'
    assert len(messages) == 2


@pytest.mark.parametrize(
    "damage",
    [
        b"garbage",
        b"\xff\xfe",
        b"\x00" * 40,
        b"[]",
        b"null",
        b"7",
        b'"drop"',
        b"{}",
        b"[" * 100_000,
        LINE.replace(b'"i9"', b"9"),
        LINE.replace(b'"i9"', b"null"),
        LINE.replace(b'"relabel"', b'"eat"'),
        LINE.replace(b'"relabel"', b'["relabel"]'),
        LINE.replace("Löwenzahn".encode(), b""),
        LINE.replace(b"0.123", b'"high"'),
        LINE[:-1],
    ],
)
def test_a_damaged_line_in_the_middle_is_reported_and_skipped(journal, messages, damage):
    journal.record(drop("a"))
    with journal.file.open("ab") as stream:
        stream.write(damage + b"\n")
    journal.record(keep("b"))
    before = journal.file.read_bytes()
    assert verdicts_by_id(journal) == {"a": "drop", "b": "keep"}
    assert messages == [f"{journal.file}: line 2 cannot be read and is skipped; the file is not changed"]
    assert journal.file.read_bytes() == before


def test_many_damaged_lines_are_reported_in_one_message(journal, messages):
    journal.file.parent.mkdir()
    journal.file.write_bytes(b"x\n" + LINE + b"\n\ny\nz\n")
    assert len(journal.lines()) == 1
    assert messages == [f"{journal.file}: line 1 and 2 more cannot be read and are skipped; the file is not changed"]


def test_a_file_that_cannot_be_read_or_written_is_an_error_of_one_line(journal):
    journal.file.mkdir(parents=True)
    with input_error(r"journal\.jsonl cannot be read: Is a directory$", "permissions"):
        journal.lines()
    with input_error(r"journal\.jsonl: Is a directory; nothing was recorded$", "correct"):
        journal.record(drop("a"))


def test_a_lock_that_cannot_be_created_is_an_error_of_one_line(journal):
    (journal.file.parent / ".journal.lock").mkdir(parents=True)
    with input_error("nothing was recorded$", "correct"):
        journal.record(drop("a"))


FILLING_A_DISK = """
import resource, sys
from pathlib import Path
from winnow.curate.journal import Decision, Journal
from winnow.common.errors import InputError
journal = Journal(Path(sys.argv[1]))
journal.record([Decision("first", "first", "drop", "off_topic")])
before = journal.file.read_bytes()
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
many = [Decision(f"{number:064d}", "path", "keep") for number in range(10_000)]
for act in (lambda: journal.record(many), lambda: journal.record(many)):
    try:
        act()
    except InputError as error:
        print(error, error.remedy)
print(journal.file.read_bytes() == before, journal.record(many[:3]) != "", len(journal.lines()))
"""


@pytest.mark.parametrize("how", ["limit", "disk"])
def test_a_full_disk_is_an_error_and_leaves_the_journal_unchanged(tmp_path, how):
    folder = tmp_path / "w"
    folder.mkdir()
    if how == "disk":
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", folder], capture_output=True)
        if mounted.returncode:
            pytest.skip("a small disk cannot be mounted here; the limit on the size of a file is tested all the same")
    try:
        command = [sys.executable, "-c", FILLING_A_DISK, folder, how]
        run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    finally:
        if how == "disk":
            subprocess.run(["umount", folder], check=True)
    word = "File too large" if how == "limit" else "No space left on device"
    error = f"{folder}/journal.jsonl: {word}; nothing was recorded disk-full"
    assert run.stdout.splitlines() == [error, error, "True True 4"], run.stderr


# Others at the same time


def test_threads_that_record_and_undo_at_once_lose_nothing(tmp_path):
    def work(name: int) -> list[str]:
        journal = Journal(tmp_path)
        return [journal.record(keep(f"{name}-{number}", f"{name}-{number}b")) for number in range(25)]

    with ThreadPoolExecutor(4) as pool:
        batches = [batch for names in pool.map(work, range(4)) for batch in names]
    lines = Journal(tmp_path).lines()
    assert len(set(batches)) == 100
    assert len(lines) == 200
    assert all(first.batch == second.batch for first, second in zip(lines[::2], lines[1::2], strict=True))
    assert [line.batch for line in lines] == sorted(line.batch for line in lines)


def test_each_batch_is_undone_once_when_two_undo_at_once(tmp_path):
    journal = Journal(tmp_path)
    for number in range(20):
        journal.record(keep(str(number)))
    with ThreadPoolExecutor(4) as pool:
        undone = [line.undoes for lines in pool.map(lambda _: Journal(tmp_path).undo(), range(20)) for line in lines]
    assert len(undone) == len(set(undone)) == 20
    assert verdicts_by_id(journal) == {}


@pytest.mark.slow
def test_a_long_wait_for_another_writer_is_reported(journal, messages):
    from filelock import FileLock

    journal.record(drop("a"))
    with FileLock(journal.file.parent / ".journal.lock"):
        other = threading.Thread(target=lambda: journal.record(keep("a")))
        other.start()
        for _ in range(100):
            if messages:
                break
            time.sleep(0.1)
        assert messages == [f"waiting for another winnow command to write {journal.file}"]
        assert verdicts_by_id(journal) == {"a": "drop"}
    other.join()
    assert verdicts_by_id(journal) == {"a": "keep"}


def test_the_lock_of_the_workspace_does_not_keep_verdicts_waiting(journal):
    """A long `embed` holds it."""
    from winnow.curate.workspace import Workspace

    journal.record(drop("a"))
    with Workspace(journal.file.parent, Path("images")).lock():
        journal.record(keep("a"))
    assert verdicts_by_id(journal) == {"a": "keep"}


RECORDING = """
import sys, time
from pathlib import Path
from winnow.curate.journal import Decision, Journal
journal = Journal(Path(sys.argv[1]))
for number in range(10**6):
    id = f"{sys.argv[2]}-{number}"
    if number % 5 == 4:
        print("undone", *(line.undoes for line in journal.undo()), flush=True)
    else:
        path = "ä" * int(sys.argv[3])
        seven = [Decision(f"{id}-{n}", path, "drop", "off_topic") for n in range(7)]
        print("recorded", journal.record(seven), flush=True)
    time.sleep(0.001)
"""


def recording(folder: Path, name: str, length: int = 40) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RECORDING, os.fspath(folder), name, str(length)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def reported(process: subprocess.Popen[str]) -> dict[str, set[str]]:
    """Batches that it reported, before it was killed, as recorded and undone; an incomplete line does not count."""
    reports: dict[str, set[str]] = {"recorded": set(), "undone": set()}
    for line in process.communicate()[0].splitlines(keepends=True):
        if line.endswith("\n"):
            what, *batches = line.split()
            reports[what].update(batches)
    return reports


def check_survived(folder: Path, reports: list[dict[str, set[str]]]) -> None:
    messages: list[str] = []
    lines = Journal(folder, messages.append).lines()
    assert messages == []
    batch_sizes: dict[str, int] = {}
    for line in lines:
        batch_sizes[line.batch] = batch_sizes.get(line.batch, 0) + 1
    undone = {line.undoes for line in lines}
    for one in reports:
        assert {batch_sizes[batch] for batch in one["recorded"]} <= {7}
        assert one["undone"] <= undone
    assert {line.path for line in lines if line.verdict == "drop"} <= {"ä" * 40, "ä" * 4000}


@pytest.mark.slow
def test_two_processes_at_once_lose_nothing(tmp_path):
    writers = [recording(tmp_path, name) for name in "ab"]
    time.sleep(3)
    for writer in writers:
        writer.terminate()
    reports = [reported(writer) for writer in writers]
    assert all(len(one["recorded"]) > 10 for one in reports)
    check_survived(tmp_path, reports)
    batches = [line.batch for line in Journal(tmp_path).lines()]
    assert all(a == b or a < b for a, b in pairwise(batches))


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_no_verdict_that_was_reported(tmp_path):
    """Two write, and are killed again and again, at random moments of long and short writes."""
    chance = random.Random(0)
    reports = []
    for round_ in range(12):
        writers = [recording(tmp_path, f"{round_}{name}", chance.choice([40, 4000])) for name in "ab"]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()  # both are at work
        time.sleep(chance.random() * 0.2)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
        reports += [reported(writer) for writer in writers]
        check_survived(tmp_path, reports)
    Journal(tmp_path).record(keep("last"))
    assert verdicts_by_id(Journal(tmp_path))["last"] == "keep"
    assert sum(len(one["recorded"]) for one in reports) > 50


def test_a_large_journal_is_read_in_about_a_second(journal):
    journal.file.parent.mkdir()
    journal.file.write_bytes(b"".join(LINE.replace(b'"i9"', b'"%064d"' % n) + b"\n" for n in range(20_000)))
    start = time.process_time()
    assert len(current_verdicts(journal.lines())) == 20_000
    assert time.process_time() - start < 1.0  # of 100,000 lines in five: several times what it takes


def test_a_bulk_verdict_skips_pictures_that_have_a_verdict_by_now(tmp_path):
    journal = Journal(tmp_path)
    journal.record([Decision("a", "a.jpg", "keep")])
    rule = [Decision(id, f"{id}.jpg", "drop", "duplicate") for id in ("a", "b")]
    journal.record(rule, undecided_only=True)
    assert {id: line.verdict for id, line in current_verdicts(journal.lines()).items()} == {"a": "keep", "b": "drop"}


def test_a_line_with_characters_that_are_not_unicode_text_is_skipped(tmp_path):
    journal, messages = Journal(tmp_path), []
    journal.record([Decision("a", "a.jpg", "relabel", label="roses")])
    line = journal.file.read_text()
    journal.file.write_text(line + line.replace("roses", "\\ud800x"))
    assert [line.label for line in Journal(tmp_path, messages.append).lines()] == ["roses"]
    assert "line 2 cannot be read" in messages[0]
