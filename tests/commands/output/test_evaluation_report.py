"""The report of an evaluation: on the terminal, as a page, as a table."""

import csv

import pytest
from PIL import Image
from rich.cells import cell_len
from support.command_line import winnow_error, winnow_json
from support.evaluations import evaluate_folder, mix_up
from support.models import write_model
from support.pictures import HUES
from support.report import EVIL, Reader

from winnow.commands.output.evaluation_report import (
    MAX_LABEL_WIDTH,
    _shorten,
    print_evaluation,
    write_csv,
    write_page,
)
from winnow.common.errors import InputError


@pytest.fixture
def model(tmp_path):
    return tmp_path / "model.onnx"


@pytest.fixture
def mixed(hues):
    return mix_up(hues)


def test_the_terminal_shows_scores_matrix_and_mistakes(mixed, model, capsys):
    print_evaluation(evaluate_folder(mixed, model))
    text = " ".join(capsys.readouterr().out.split())
    assert "on 59 pictures of 3 classes on the test pictures of its own collection, the file states 0.910" in text
    assert "(weighted average) 0.746 0.746 0.746 59" in text
    assert "1 blue 15 0 5 2 green 5 15 0 3 red 0 5 14" in text
    assert "Unfamiliar (below 0.05): 0 of 59, 0.0%" in text
    assert "Cannot be used: red/10.jpg: " in text


def test_many_classes_and_names_with_control_characters_fit_a_terminal(hues, model, capsys):
    names = [*sorted(HUES), "\x1b[31mred\r" + "long " * 20 + "end", *(f"class {n}" for n in range(10))]
    for number, name in enumerate(names[3:]):
        Image.new("RGB", (20, 20), (60, 200, number)).save(hues / f"{name}{number}.png")
    table = hues.parent / "labels.csv"
    with table.open("w", newline="") as stream:
        rows = [(f"{name}{number}.png", name) for number, name in enumerate(names[3:])]
        csv.writer(stream).writerows([("path", "label"), *rows, ("red/00.jpg", "red")])
    print_evaluation(evaluate_folder(hues, model, table, labels=names))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\r" not in text
    assert "Most frequent mistakes" in text
    assert "Confusion matrix" not in text
    assert "ong end green 1 of 1" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 141


def test_labels_are_shortened_by_their_width_on_the_terminal():
    for text in ("花" * 40, "a" * 13 + "花" * 40, "x" * 29):
        assert MAX_LABEL_WIDTH - 2 <= cell_len(_shorten(text)) <= MAX_LABEL_WIDTH
    assert _shorten("花" * 14) == "花" * 14


def test_a_model_without_scores_in_its_metadata_is_evaluated_too(hues, model, capsys):
    print_evaluation(evaluate_folder(hues, model, metrics={"weighted_f1": [0.9]}))
    assert "the file states" not in capsys.readouterr().out


def test_the_page_is_complete_and_self_contained(mixed, model, tmp_path):
    result = evaluate_folder(mixed, model)
    write_page(result, tmp_path / "page.html")
    page = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not page.open
    assert "Weighted F1 of model.onnx" in page.text
    assert "44 of 59 correct" in page.text
    assert "red 0.737 0.737 0.737 19" in page.text
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 15
    assert all(source.startswith("data:image/jpeg;base64,") for source in images)
    ids = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    assert {attributes["href"] for tag, attributes in page.tags if tag == "a"} <= {f"#{name}" for name in ids}
    assert not {"script", "iframe", "form"} & {tag for tag, _ in page.tags}


def test_names_are_escaped_in_the_page(hues, model, tmp_path):
    names = ["blue", "green", f"{EVIL} {{{{ 7 * 7 }}}}"]
    table = tmp_path / "labels.csv"
    with table.open("w", newline="") as stream:
        rows = [(f"red/{n:02d}.jpg", names[2]) for n in range(9)] + [("red/10.jpg", EVIL), ("red/11.jpg", "blue")]
        csv.writer(stream).writerows([("path", "label"), *rows])
    result = evaluate_folder(hues, model, table, labels=names)
    write_page(result, tmp_path / "page.html", lambda path: None)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in text
    page = Reader(text)
    assert page.text.count(names[2]) >= 2
    assert "picture not found" in page.text


def test_the_csv_table_has_a_row_for_every_picture(mixed, model, tmp_path):
    result = evaluate_folder(mixed, model)
    write_csv(result, tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 60
    assert [row["path"] for row in rows] == [row.prediction.path for row in result.predictions]
    first = result.predictions[0].to_json()
    assert float(rows[0]["label_probability"]) == first["label_probability"]
    assert [row["problem"] for row in rows if row["problem"]] == ["truncated"]
    assert {row["unfamiliar"] for row in rows} == {"false", ""}
    assert b"\r" not in (tmp_path / "all.csv").read_bytes()
    with pytest.raises(InputError, match="Is a directory"):
        write_csv(result, tmp_path / "hues")


def test_the_command_prints_one_document_and_writes_both_files(mixed, model, tmp_path):
    write_model(model)
    files = ("--report", "out/page.html", "--csv", "out/all.csv")
    assert winnow_json("evaluate", model, mixed, *files)["pictures"] == 59
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["all.csv", "page.html"]
    assert "would lie inside the pictures" in winnow_error("evaluate", model, mixed, "--csv", mixed / "all.csv")
