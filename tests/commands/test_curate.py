"""The commands that curate: what they print and record, and what later commands do with it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image
from support.command_line import winnow, winnow_json
from support.pictures import HUES, paint

from winnow.curate import journal

OFF_TOPIC = ("red/95.jpg", "red/96.jpg", "blue/97.jpg")  # of a hue that no class has
MISLABELLED = ("green/98.jpg", "blue/99.jpg")  # red ones


@pytest.fixture
def noisy(hues: Path) -> Path:
    """Sixty pictures of three hues, three that are of nothing asked for, two in the wrong folder, and two copies."""
    for seed, path in enumerate(OFF_TOPIC):
        paint(hues / path, (250, 250, 20), 900 + seed)
    for seed, path in enumerate(MISLABELLED):
        paint(hues / path, HUES["red"], 950 + seed)
    (hues / "red" / "same.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes())  # an exact copy
    Image.open(hues / "blue" / "01.jpg").save(hues / "blue" / "again.png")  # the same pixels
    (hues / "red" / "broken.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes()[:300])
    return hues


@pytest.fixture
def scored(noisy: Path, colours: Path) -> Path:
    winnow_json("score", noisy, "--backbone", colours)
    return noisy


class TestScan:
    def test_prints_one_json_document(self, folder: Path) -> None:
        (folder / "red" / "broken.jpg").write_bytes((folder / "red" / "0.jpg").read_bytes()[:400])
        (folder / "blue" / "copy.jpg").write_bytes((folder / "blue" / "1.jpg").read_bytes())
        (folder / "notes.txt").write_text("tulips are late")
        result = winnow_json("scan", folder)
        assert result["files"] == 15
        assert result["images"] == 14
        assert result["ignored"] == 1
        assert result["problems"] == 1
        assert result["problem_files"][0]["path"] == "red/broken.jpg"
        assert result["problem_files"][0]["code"] == "truncated"
        assert result["labels"] == {"blue": 7, "red": 6}
        assert result["exact_duplicates"] == 1

    def test_lists_what_is_wrong_and_what_to_do_next(self, folder: Path) -> None:
        (folder / "red" / "empty.png").touch()
        done = winnow("scan", folder)
        assert "red/empty.png  empty: the file has no bytes: copy it again or remove it" in done.stdout
        assert f"Next: winnow run {folder}" in done.stderr

    def test_shows_names_on_one_line_and_without_control_characters(self, folder: Path) -> None:
        (folder / "red" / "a\nb\x1b[31m.jpg").touch()
        done = winnow("scan", folder)
        assert "red/a\\nb\\x1b[31m.jpg  empty" in done.stdout

    def test_says_what_to_do_next_with_the_same_folders(self, folder: Path) -> None:
        assert winnow("scan", folder, "--workspace", "a b").stderr.endswith(
            f"Next: winnow run {folder} --workspace 'a b'\n"
        )
        assert winnow("scan", "--workspace", "a b").stderr.endswith("Next: winnow run --workspace 'a b'\n")

    def test_of_an_empty_folder_says_that_there_is_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "none").mkdir()
        assert json.loads(winnow("scan", "none", "--json").stdout)["images"] == 0
        done = winnow("embed", "none", "--weights", "random")
        assert done.exit_code == 1
        assert "holds no picture that can be read" in done.stderr


class TestScore:
    def test_puts_noise_first_and_says_what_it_rather_is(self, noisy: Path, colours: Path) -> None:
        summary = winnow_json("score", noisy, "--backbone", colours)
        first = summary["suspects"][0]
        assert set(first) == {
            "path",
            "label",
            "off_topic",
            "label_suspect",
            "suggested_label",
            "duplicate_group",
        }
        assert {row["path"] for row in summary["suspects"][:6]} >= {*OFF_TOPIC, *MISLABELLED}
        rather = {row["path"]: row["suggested_label"] for row in summary["suspects"]}
        assert [rather[path] for path in MISLABELLED] == ["red", "red"]
        assert summary["near_duplicates"] >= 1
        assert len(summary["next"]) == 10
        assert summary["outlook"]["looked"] == 0
        assert "red/broken.jpg" not in rather

    def test_writes_a_row_a_path_as_csv(self, noisy: Path, colours: Path, tmp_path: Path) -> None:
        winnow("score", noisy, "--backbone", colours, "--csv", "rows.csv")
        with Path("rows.csv").open(newline="", encoding="utf-8") as stream:
            rows = {row["path"]: row for row in csv.DictReader(stream)}
        assert len(rows) == 68
        assert rows["red/same.jpg"]["off_topic"] == rows["red/00.jpg"]["off_topic"] != ""
        assert rows["red/broken.jpg"]["problem"] == "truncated"
        assert rows["red/broken.jpg"]["off_topic"] == ""

    @pytest.mark.slow
    def test_writes_through_a_link_and_names_a_file_that_cannot_be_written(self, scored: Path, colours: Path) -> None:
        Path("real.csv").write_text("old")
        Path("link.csv").symlink_to("real.csv")
        assert winnow("score", scored, "--backbone", colours, "--csv", "link.csv").exit_code == 0
        assert Path("link.csv").is_symlink()
        assert Path("real.csv").read_text().startswith("id,path,label,off_topic")
        done = winnow("score", scored, "--backbone", colours, "--csv", "real.csv/rows.csv")
        assert done.exit_code == 1
        assert "Error: real.csv/rows.csv: " in done.stderr
        assert "correct that or name another file" in done.stderr

    def test_learns_from_verdicts_unless_told_to_take_the_folder_as_it_lies(self, scored: Path, colours: Path) -> None:
        before = winnow_json("score", scored, "--backbone", colours)
        winnow_json("decide", scored, "--drop", OFF_TOPIC[0])
        after = winnow_json("score", scored, "--backbone", colours)
        assert OFF_TOPIC[0] not in {row["path"] for row in after["suspects"]}
        assert after["verdicts"] == {"drop": 1}
        assert (after["outlook"]["looked"], after["outlook"]["found"]) == (1, 1)
        as_found = winnow_json("score", scored, "--backbone", colours, "--as-found")
        assert as_found["suspects"] == before["suspects"]

    def test_prints_what_to_look_at_next(self, scored: Path, colours: Path) -> None:
        shown = winnow("score", scored, "--backbone", colours).output
        assert "look at these next" in shown
        assert "perhaps mislabelled" in shown
        assert "near-duplicate" in shown
        assert f"Next: winnow review {scored}" in shown

    @pytest.mark.slow
    def test_curates_pictures_without_labels_as_one_group(self, tmp_path: Path, colours: Path) -> None:
        for number in range(20):
            paint(tmp_path / "loose" / f"{number}.jpg", HUES["red"], number)
        paint(tmp_path / "loose" / "odd.jpg", (20, 20, 250), 99)
        summary = winnow_json("score", tmp_path / "loose", "--backbone", colours)
        assert summary["suspects"][0]["path"] == "odd.jpg"
        assert {row["label"] for row in summary["suspects"]} == {None}
        winnow_json("decide", tmp_path / "loose", "--relabel", "red", "1.jpg", "2.jpg", "3.jpg")
        winnow_json("decide", tmp_path / "loose", "--relabel", "blue", "odd.jpg")
        summary = winnow_json("score", tmp_path / "loose", "--backbone", colours)
        assert {row["suggested_label"] for row in summary["suspects"]} == {"red"}


class TestDecide:
    @pytest.mark.slow
    def test_is_recorded_and_used_by_what_comes_after(self, scored: Path, colours: Path) -> None:
        quick = ("--backbone", colours, "--heads", "centroid", "--repeats", 2, "--jobs", 1)
        before = winnow_json("compare", scored, *quick)["data"]
        assert winnow_json("decide", scored, "--drop", *OFF_TOPIC)["recorded"] == 3
        assert winnow_json("decide", "--relabel", "red", scored / MISLABELLED[0])["recorded"] == 1
        lines = [json.loads(line) for line in Path("hues.winnow/journal.jsonl").read_text().splitlines()]
        assert [(line["path"], line["verdict"], line["reason"], line["label"]) for line in lines] == [
            *((path, "drop", "off_topic", None) for path in OFF_TOPIC),
            (MISLABELLED[0], "relabel", None, "red"),
        ]
        assert all(0 <= line["score"] <= 1 for line in lines)
        after = winnow_json("compare", scored, *quick)["data"]
        assert before["pictures"] - after["pictures"] == 3
        count = {label: sum(after["splits"][part][label] for part in after["splits"]) for label in HUES}
        assert count["green"] == 20
        assert winnow_json("compare", scored, *quick, "--as-found")["data"]["pictures"] == before["pictures"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["red/00.jpg"], "give one of --drop, --keep or --relabel NAME"),
            (["--drop", "--relabel", "x", "red/00.jpg"], "give one of --drop, --keep or --relabel NAME"),
            (["--drop", "--keep", "red/00.jpg"], "give one of --drop, --keep or --relabel NAME"),
            (["--keep", "--reason", "other", "red/00.jpg"], "--reason goes with --drop"),
            (["--drop"], "name the pictures, or give a file of their names with --from"),
        ],
    )
    def test_not_understood_says_why(self, scored: Path, words: list[str], message: str) -> None:
        done = winnow("decide", scored, *words)
        assert done.exit_code == 2
        assert message in done.stderr

    def test_of_what_is_no_picture_records_nothing(self, scored: Path) -> None:
        done = winnow("decide", "--drop", "red/00.jpg", "red/0O.jpg")
        assert done.exit_code == 1
        assert "red/0O.jpg" in done.stderr
        assert not Path("hues.winnow/journal.jsonl").exists()

    def test_in_a_folder_without_a_workspace_says_so(self, scored: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        for words in (("decide", "--drop", "other", "x.jpg"), ("materialize", "other", "clean")):
            done = winnow(*words)
            assert done.exit_code == 1
            assert "other has no workspace here: run `winnow scan other` first, or use --workspace" in done.stderr
        done = winnow("undo", tmp_path / "other")
        assert "is no workspace" in done.stderr
        assert not Path("other.winnow").exists()

    def test_needs_no_scores_that_can_be_read(self, scored: Path) -> None:
        for file in Path("hues.winnow/scores.lance/_versions").iterdir():
            file.write_bytes(b"torn")
        done = winnow("decide", "--drop", "red/00.jpg")
        assert done.exit_code == 0
        assert "the verdict is recorded without a score" in done.stderr

    def test_takes_paths_from_a_file(self, scored: Path) -> None:
        Path("names.txt").write_text("red/00.jpg\n\nred/01.jpg\n")
        assert winnow_json("decide", "--keep", "--from", "names.txt")["recorded"] == 2


class TestPrune:
    def test_shows_first_and_records_with_yes(self, scored: Path) -> None:
        assert winnow_json("prune", scored, "--duplicates", "--unreadable")["would_drop"] == 2
        assert not Path("hues.winnow/journal.jsonl").exists()
        done = winnow_json("prune", scored, "--duplicates", "--unreadable", "--yes")
        assert done["dropped"] == 2
        assert {(row["path"], row["reason"]) for row in done["pictures"]} == {
            ("blue/again.png", "duplicate"),
            ("red/broken.jpg", "unreadable"),
        }
        assert winnow_json("prune", scored, "--duplicates", "--unreadable")["would_drop"] == 0

    def test_goes_by_the_score_before_any_verdict(self, scored: Path) -> None:
        all_of_them = winnow_json("prune", scored, "--off-topic-above", "0")["would_drop"]
        assert winnow_json("prune", scored, "--off-topic-above", "1")["would_drop"] == 0
        winnow_json("decide", scored, "--keep", OFF_TOPIC[0])
        assert winnow_json("prune", scored, "--off-topic-above", "0")["would_drop"] == all_of_them - 1

    def test_says_how_many_duplicates_straddle_labels(self, scored: Path) -> None:
        (scored / "green" / "twin.png").write_bytes((scored / "blue" / "again.png").read_bytes() + b"\0")
        done = winnow("prune", scored, "--duplicates")
        assert "2 of the duplicates have copies under other labels" in done.stderr

    def test_without_a_rule_says_which_there_are(self, scored: Path) -> None:
        done = winnow("prune", scored)
        assert done.exit_code == 2
        assert "--duplicates, --off-topic-above X, --unreadable or --quality" in done.stderr


@pytest.mark.slow
class TestUndo:
    def test_restores_what_held_before(self, scored: Path) -> None:
        winnow_json("decide", scored, "--keep", "red/00.jpg")
        winnow_json("decide", scored, "--drop", "red/00.jpg", "red/01.jpg")
        assert winnow_json("undo", scored) == {"undone": 2, "batches": 1}
        current = journal.current_verdicts(journal.Journal(Path("hues.winnow")).lines())
        assert [line.verdict for line in current.values()] == ["keep"]
        assert "red/00.jpg  undecided again" in winnow("undo", scored).output
        assert "There is nothing to take back." in winnow("undo", scored).output


@pytest.mark.slow
class TestMaterialize:
    def test_writes_the_dataset_as_decided(self, scored: Path) -> None:
        winnow_json("decide", scored, "--drop", *OFF_TOPIC)
        done = winnow_json("materialize", "clean")
        assert done["written"] == 60 + 2 + 1  # both files of the same pixels; the exact copy once
        assert not any(Path("clean", path).exists() for path in OFF_TOPIC)
        assert Path("clean/red/00.jpg").is_symlink()
        assert "off" in Path("clean/README.md").read_text().lower()
        assert winnow_json("materialize", scored, "copied", "--copy")["written"] == done["written"]
        assert not Path("copied/red/00.jpg").is_symlink()

    def test_is_refused_inside_the_pictures(self, scored: Path) -> None:
        done = winnow("materialize", scored / "clean")
        assert done.exit_code == 1
        assert len(done.stderr.strip().splitlines()) == 2  # the folder in use, and why not


@pytest.mark.slow
class TestCleaning:
    @pytest.mark.slow
    def test_compares_the_same_heads_on_the_same_test_pictures(self, scored: Path, colours: Path) -> None:
        quick = ("--backbone", colours, "--heads", "logistic,centroid,dummy", "--repeats", 3, "--jobs", 1)
        winnow_json("decide", scored, "--drop", *OFF_TOPIC)
        winnow_json("decide", scored, "--relabel", "red", *MISLABELLED)
        done = winnow_json("compare", scored, *quick, "--cleaning")
        effect = done["cleaning"]
        assert (effect["dropped"], effect["relabelled"], effect["added"]) == (3, 2, 0)
        assert {head["name"] for head in effect["heads"]} == {"logistic", "centroid", "dummy"}
        for head in effect["heads"]:
            for part in ("as_found", "as_decided"):
                row = head[part]
                assert row["difference"] == pytest.approx(row["after"] - row["before"])
                assert row["low"] <= row["difference"] <= row["high"]
        plain = winnow_json("compare", scored, *quick)
        assert [head["weighted_f1"] for head in plain["heads"]] == [head["weighted_f1"] for head in done["heads"]]
        as_found = winnow_json("compare", scored, *quick, "--as-found")
        before = {head["name"]: head["as_found"]["before"] for head in effect["heads"]}
        assert {head["name"]: head["weighted_f1"]["mean"] for head in as_found["heads"]} == pytest.approx(before)
        page = Path(done["report"]).read_text()
        assert "Effect of the verdicts" in page
        assert "Dropped" in page

    def test_before_any_verdict_says_that_there_is_nothing_to_measure(self, scored: Path, colours: Path) -> None:
        done = winnow("compare", scored, "--backbone", colours, "--heads", "dummy", "--cleaning")
        assert done.exit_code == 1
        assert "winnow review" in done.stderr

    def test_leaves_no_room_for_the_folder_as_it_lies(self, scored: Path) -> None:
        done = winnow("compare", scored, "--cleaning", "--as-found")
        assert done.exit_code == 2
        assert "leave out --as-found" in done.stderr

    @pytest.mark.slow
    def test_of_labels_that_only_verdicts_gave_says_that_there_is_nothing_to_compare_with(
        self, tmp_path: Path, colours: Path
    ) -> None:
        for index, hue in enumerate(HUES.values()):
            for number in range(8):
                paint(tmp_path / "loose" / f"{index}{number}.jpg", hue, 100 * index + number)
        winnow_json("scan", tmp_path / "loose")
        for index, label in enumerate(HUES):
            winnow_json("decide", "--relabel", label, *(f"{index}{number}.jpg" for number in range(8)))
        quick = ("--backbone", colours, "--heads", "centroid", "--repeats", 2, "--jobs", 1)
        assert winnow_json("compare", tmp_path / "loose", *quick)["data"]["pictures"] == 24
        done = winnow("compare", tmp_path / "loose", *quick, "--cleaning")
        assert done.exit_code == 1
        assert "there is nothing to compare with: as found, a classifier needs two" in done.stderr
