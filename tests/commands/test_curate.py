"""The commands that curate: what they print and record, and how verdicts change what later commands do."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image
from support.command_line import winnow, winnow_error, winnow_json
from support.pictures import HUES, paint

from winnow.curate import journal

OFF_TOPIC = ("red/95.jpg", "red/96.jpg", "blue/97.jpg")  # yellow: no class has this hue
MISLABELLED = ("green/98.jpg", "blue/99.jpg")  # both are red


@pytest.fixture
def noisy(hues: Path) -> Path:
    """The sixty pictures of `hues` and noise: three off-topic, two mislabelled, two copied and one truncated."""
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
    """The pictures of `noisy`, with scores in `hues.winnow`."""
    winnow_json("score", noisy, "--backbone", colours)
    return noisy


class TestScan:
    def test_counts_files_labels_and_problems(self, folder: Path) -> None:
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

    def test_lists_problems_and_names_the_next_command(self, folder: Path) -> None:
        (folder / "red" / "empty.png").touch()
        result = winnow("scan", folder)
        assert "red/empty.png  empty: the file has no bytes: copy it again or remove it" in result.stdout
        assert f"Next: winnow run {folder}" in result.stderr

    def test_prints_names_on_one_line_and_without_control_characters(self, folder: Path) -> None:
        (folder / "red" / "a\nb\x1b[31m.jpg").touch()
        result = winnow("scan", folder)
        assert "red/a\\nb\\x1b[31m.jpg  empty" in result.stdout

    def test_repeats_the_folders_in_the_next_command(self, folder: Path) -> None:
        assert winnow("scan", folder, "--workspace", "a b").stderr.endswith(
            f"Next: winnow run {folder} --workspace 'a b'\n"
        )
        assert winnow("scan", "--workspace", "a b").stderr.endswith("Next: winnow run --workspace 'a b'\n")

    def test_an_empty_folder_can_be_scanned_but_not_embedded(self, tmp_path: Path) -> None:
        (tmp_path / "none").mkdir()
        assert winnow_json("scan", "none")["images"] == 0
        assert "holds no picture that can be read" in winnow_error("embed", "none", "--weights", "random")


class TestScore:
    def test_ranks_noise_first_and_suggests_labels(self, noisy: Path, colours: Path) -> None:
        summary = winnow_json("score", noisy, "--backbone", colours)
        first = summary["suspects"][0]
        assert set(first) == {"path", "label", "off_topic", "label_suspect", "suggested_label", "duplicate_group"}
        assert {row["path"] for row in summary["suspects"][:6]} >= {*OFF_TOPIC, *MISLABELLED}
        suggestions = {row["path"]: row["suggested_label"] for row in summary["suspects"]}
        assert [suggestions[path] for path in MISLABELLED] == ["red", "red"]
        assert summary["near_duplicates"] >= 1
        assert len(summary["next"]) == 10
        assert summary["outlook"]["looked"] == 0
        assert "red/broken.jpg" not in suggestions

    def test_writes_one_csv_row_per_path(self, noisy: Path, colours: Path, tmp_path: Path) -> None:
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
        message = winnow_error("score", scored, "--backbone", colours, "--csv", "real.csv/rows.csv")
        assert message.startswith("Error: real.csv/rows.csv: ")
        assert "correct that or name another file" in message

    def test_learns_from_verdicts_unless_as_found_is_given(self, scored: Path, colours: Path) -> None:
        before = winnow_json("score", scored, "--backbone", colours)
        winnow_json("decide", scored, "--drop", OFF_TOPIC[0])
        after = winnow_json("score", scored, "--backbone", colours)
        assert OFF_TOPIC[0] not in {row["path"] for row in after["suspects"]}
        assert after["verdicts"] == {"drop": 1}
        assert (after["outlook"]["looked"], after["outlook"]["found"]) == (1, 1)
        as_found = winnow_json("score", scored, "--backbone", colours, "--as-found")
        assert as_found["suspects"] == before["suspects"]

    def test_prints_the_pictures_to_review_next(self, scored: Path, colours: Path) -> None:
        output = winnow("score", scored, "--backbone", colours).output
        assert "look at these next" in output
        assert "perhaps mislabelled" in output
        assert "near-duplicate" in output
        assert f"Next: winnow review {scored}" in output

    @pytest.mark.slow
    def test_compares_pictures_without_labels_with_each_other(self, tmp_path: Path, colours: Path) -> None:
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
    def test_verdicts_are_recorded_and_used_by_later_commands(self, scored: Path, colours: Path) -> None:
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
        ("arguments", "message"),
        [
            (["red/00.jpg"], "give one of --drop, --keep or --relabel NAME"),
            (["--drop", "--relabel", "x", "red/00.jpg"], "give one of --drop, --keep or --relabel NAME"),
            (["--drop", "--keep", "red/00.jpg"], "give one of --drop, --keep or --relabel NAME"),
            (["--keep", "--reason", "other", "red/00.jpg"], "--reason goes with --drop"),
            (["--drop"], "name the pictures, or give a file of their names with --from"),
        ],
    )
    def test_ambiguous_options_are_explained(self, scored: Path, arguments: list[str], message: str) -> None:
        assert message in winnow_error("decide", scored, *arguments, exit_code=2)

    def test_a_path_that_does_not_exist_records_nothing(self, scored: Path) -> None:
        assert "red/0O.jpg" in winnow_error("decide", "--drop", "red/00.jpg", "red/0O.jpg")
        assert not Path("hues.winnow/journal.jsonl").exists()

    def test_a_folder_without_a_workspace_is_an_error(self, scored: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        expected = "other has no workspace here: run `winnow scan other` first, or use --workspace"
        for arguments in (("decide", "--drop", "other", "x.jpg"), ("materialize", "other", "clean")):
            assert expected in winnow_error(*arguments)
        assert "is no workspace" in winnow_error("undo", tmp_path / "other")
        assert not Path("other.winnow").exists()

    def test_damaged_scores_do_not_prevent_a_verdict(self, scored: Path) -> None:
        for file in Path("hues.winnow/scores.lance/_versions").iterdir():
            file.write_bytes(b"torn")
        result = winnow("decide", "--drop", "red/00.jpg")
        assert result.exit_code == 0
        assert "the verdict is recorded without a score" in result.stderr

    def test_takes_paths_from_a_file(self, scored: Path) -> None:
        Path("names.txt").write_text("red/00.jpg\n\nred/01.jpg\n")
        assert winnow_json("decide", "--keep", "--from", "names.txt")["recorded"] == 2


class TestPrune:
    def test_shows_first_and_records_with_yes(self, scored: Path) -> None:
        assert winnow_json("prune", scored, "--duplicates", "--unreadable")["would_drop"] == 2
        assert not Path("hues.winnow/journal.jsonl").exists()
        document = winnow_json("prune", scored, "--duplicates", "--unreadable", "--yes")
        assert document["dropped"] == 2
        assert {(row["path"], row["reason"]) for row in document["pictures"]} == {
            ("blue/again.png", "duplicate"),
            ("red/broken.jpg", "unreadable"),
        }
        assert winnow_json("prune", scored, "--duplicates", "--unreadable")["would_drop"] == 0

    def test_compares_the_score_without_verdicts_with_the_threshold(self, scored: Path) -> None:
        undecided = winnow_json("prune", scored, "--off-topic-above", "0")["would_drop"]
        assert winnow_json("prune", scored, "--off-topic-above", "1")["would_drop"] == 0
        winnow_json("decide", scored, "--keep", OFF_TOPIC[0])
        assert winnow_json("prune", scored, "--off-topic-above", "0")["would_drop"] == undecided - 1

    def test_counts_duplicates_under_different_labels(self, scored: Path) -> None:
        (scored / "green" / "twin.png").write_bytes((scored / "blue" / "again.png").read_bytes() + b"\0")
        result = winnow("prune", scored, "--duplicates")
        assert "2 of the duplicates have copies under other labels" in result.stderr

    def test_without_a_rule_lists_the_rules(self, scored: Path) -> None:
        message = winnow_error("prune", scored, exit_code=2)
        assert "--duplicates, --off-topic-above X, --unreadable or --quality" in message


@pytest.mark.slow
class TestUndo:
    def test_restores_the_verdicts_before_the_last_batch(self, scored: Path) -> None:
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
        document = winnow_json("materialize", "clean")
        assert document["written"] == 60 + 2 + 1  # both files of the same pixels; the exact copy once
        assert not any(Path("clean", path).exists() for path in OFF_TOPIC)
        assert Path("clean/red/00.jpg").is_symlink()
        assert "off" in Path("clean/README.md").read_text().lower()
        assert winnow_json("materialize", scored, "copied", "--copy")["written"] == document["written"]
        assert not Path("copied/red/00.jpg").is_symlink()

    def test_does_not_write_among_the_pictures(self, scored: Path) -> None:
        result = winnow("materialize", scored / "clean")
        assert result.exit_code == 1
        assert len(result.stderr.strip().splitlines()) == 2  # the folder in use, and the error


class TestCleaning:
    @pytest.mark.slow
    def test_compares_the_same_heads_on_the_same_test_pictures(self, scored: Path, colours: Path) -> None:
        quick = ("--backbone", colours, "--heads", "logistic,centroid,dummy", "--repeats", 3, "--jobs", 1)
        winnow_json("decide", scored, "--drop", *OFF_TOPIC)
        winnow_json("decide", scored, "--relabel", "red", *MISLABELLED)
        document = winnow_json("compare", scored, *quick, "--cleaning")
        effect = document["cleaning"]
        assert (effect["dropped"], effect["relabelled"], effect["added"]) == (3, 2, 0)
        assert {head["name"] for head in effect["heads"]} == {"logistic", "centroid", "dummy"}
        for head in effect["heads"]:
            for part in ("as_found", "as_decided"):
                row = head[part]
                assert row["difference"] == pytest.approx(row["after"] - row["before"])
                assert row["low"] <= row["difference"] <= row["high"]
        plain = winnow_json("compare", scored, *quick)
        assert [head["weighted_f1"] for head in plain["heads"]] == [head["weighted_f1"] for head in document["heads"]]
        as_found = winnow_json("compare", scored, *quick, "--as-found")
        before = {head["name"]: head["as_found"]["before"] for head in effect["heads"]}
        assert {head["name"]: head["weighted_f1"]["mean"] for head in as_found["heads"]} == pytest.approx(before)
        report = Path(document["report"]).read_text()
        assert "Effect of the verdicts" in report
        assert "Dropped" in report

    def test_needs_verdicts(self, scored: Path, colours: Path) -> None:
        message = winnow_error("compare", scored, "--backbone", colours, "--heads", "dummy", "--cleaning")
        assert "nothing is decided yet: run `winnow review`, `winnow decide` or `winnow prune` first" in message

    def test_cannot_be_combined_with_as_found(self, scored: Path) -> None:
        assert "leave out --as-found" in winnow_error("compare", scored, "--cleaning", "--as-found", exit_code=2)

    @pytest.mark.slow
    def test_needs_labels_that_do_not_come_from_verdicts(self, tmp_path: Path, colours: Path) -> None:
        for index, hue in enumerate(HUES.values()):
            for number in range(8):
                paint(tmp_path / "loose" / f"{index}{number}.jpg", hue, 100 * index + number)
        winnow_json("scan", tmp_path / "loose")
        for index, label in enumerate(HUES):
            winnow_json("decide", "--relabel", label, *(f"{index}{number}.jpg" for number in range(8)))
        quick = ("--backbone", colours, "--heads", "centroid", "--repeats", 2, "--jobs", 1)
        assert winnow_json("compare", tmp_path / "loose", *quick)["data"]["pictures"] == 24
        message = winnow_error("compare", tmp_path / "loose", *quick, "--cleaning")
        assert "there is nothing to compare with: as found, a classifier needs two" in message
