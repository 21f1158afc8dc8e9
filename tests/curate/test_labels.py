"""Labels and splits by folder, by parent and by CSV file."""

from __future__ import annotations

import os

import pytest
from support.errors import input_error

from winnow.common.errors import InputError
from winnow.curate.labels import assign_labels, read_groups


def by(rule, paths):
    assignment = assign_labels(rule, paths, None)
    assert assignment.warnings == []
    return list(zip(assignment.labels, assignment.splits, strict=True))


@pytest.fixture
def table(tmp_path):
    """A function that writes a CSV file: text or bytes."""

    def write(content):
        file = tmp_path / "labels.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


def test_the_top_folder_is_the_label_however_deep_the_picture_lies():
    assert by("folder", ["a.jpg", "roses/1.jpg", "roses/2020/may/2.jpg"]) == [
        (None, None),
        ("roses", None),
        ("roses", None),
    ]


def test_the_parent_folder_is_the_innermost():
    assert by("parent", ["a.jpg", "roses/1.jpg", "shop/2020/roses/2.jpg"]) == [
        (None, None),
        ("roses", None),
        ("roses", None),
    ]


@pytest.mark.parametrize("rule", ["folder", "parent"])
def test_train_val_and_test_on_top_are_splits(rule):
    assert by(rule, ["train/a/1", "val/a/2", "test/b/3"]) == [("a", "train"), ("a", "val"), ("b", "test")]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["Train", "Test"], ["train", "test"]),
        (["training", "validation"], ["train", "val"]),
        (["train", "valid", "test"], ["train", "val", "test"]),
        (["TRAIN", "VAL"], ["train", "val"]),
        (["train", "dev", "testing"], ["train", "val", "test"]),
    ],
)
def test_other_spellings_of_the_splits_are_known(names, splits):
    assert by("folder", [f"{name}/a/1" for name in names]) == [("a", split) for split in splits]


@pytest.mark.parametrize(
    "tops", [["train", "bus"], ["train", "test", "bus"], ["train"], ["val", "test"], ["test"], ["trains", "tests"]]
)
def test_split_names_beside_other_folders_are_classes(tops):
    assert by("folder", [f"{top}/x/1" for top in tops]) == [(top, None) for top in tops]


def test_a_picture_beside_the_splits_has_neither_label_nor_split():
    assert by("folder", ["stray.jpg", "train/1.jpg", "train/a/2.jpg", "test/a/3.jpg"]) == [
        (None, None),
        (None, "train"),
        ("a", "train"),
        ("a", "test"),
    ]


def test_below_splits_the_top_folder_counts_and_by_parent_the_innermost():
    paths = ["train/a/x/1", "test/b/y/2"]
    assert by("folder", paths) == [("a", "train"), ("b", "test")]
    assert by("parent", paths) == [("x", "train"), ("y", "test")]


def test_no_paths_give_no_labels():
    assert by("folder", []) == []


def test_a_csv_gives_labels_and_leaves_other_pictures_unlabelled(table, tmp_path):
    file = table("path,label\na/1.jpg,rose\n2.jpg, tulip \n3.jpg,\n")
    assignment = assign_labels(str(file), ["a/1.jpg", "2.jpg", "3.jpg", "4.jpg"], tmp_path)
    assert assignment.labels == ["rose", "tulip", None, None]
    assert assignment.splits == [None] * 4
    assert assignment.warnings == []


def test_a_csv_may_give_splits_in_any_order_of_columns(table, tmp_path):
    file = table("Split,Label,Path,note\nTrain,a,1,x\nvalid,a,2,x\ntest,b,3,x\nsomething,b,4,x\n,b,5,x\n")
    assignment = assign_labels(str(file), list("12345"), tmp_path)
    assert assignment.labels == ["a", "a", "b", "b", "b"]
    assert assignment.splits == ["train", "val", "test", None, None]
    assert assignment.warnings == ["labels.csv: splits other than train, val and test are ignored: something"]


def test_a_path_with_two_labels_gets_the_last_and_a_warning(table, tmp_path):
    file = table("path,label\n1,a\n2,a\n./1,b\n2,a\n")
    assignment = assign_labels(str(file), ["1", "2"], tmp_path)
    assert assignment.labels == ["b", "a"]
    assert assignment.warnings == ["labels.csv: 1 paths have several labels, the last of which counts, for example 1"]


def test_a_csv_that_names_no_picture_is_refused_once_there_are_pictures(table, tmp_path):
    file = table("path,label\nelsewhere/1.jpg,a\n")
    with input_error(r"labels\.csv: none of its paths is a picture below /"):
        assign_labels(str(file), ["1.jpg"], tmp_path)
    assert assign_labels(str(file), [], tmp_path).labels == []


def test_a_csv_of_a_spreadsheet_with_bom_and_crlf_is_read(table, tmp_path):
    file = table(b'\xef\xbb\xbf"path","label"\r\n"a b.jpg","r\xc3\xb6se"\r\n')
    assert assign_labels(str(file), ["a b.jpg"], tmp_path).labels == ["röse"]


def test_quotes_commas_and_newlines_in_names_are_read(table, tmp_path):
    file = table('path,label\n"two\nlines.jpg",a\n"it\'s ""q"", [x].jpg","b, c"\n')
    assert assign_labels(str(file), ["two\nlines.jpg", 'it\'s "q", [x].jpg'], tmp_path).labels == ["a", "b, c"]


def test_absolute_paths_backslashes_and_dots_mean_the_same_picture(table, tmp_path):
    file = table(f"path,label\n{tmp_path}/a/1.jpg,x\na\\2.jpg,y\n./a//3.jpg,z\n")
    assert assign_labels(str(file), ["a/1.jpg", "a/2.jpg", "a/3.jpg"], tmp_path).labels == ["x", "y", "z"]


def test_absolute_paths_through_a_link_are_found(table, tmp_path):
    (tmp_path / "real" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    file = table(f"path,label\n{tmp_path}/link/a/1.jpg,x\n")
    assert assign_labels(str(file), ["a/1.jpg"], tmp_path / "real").labels == ["x"]


def test_a_path_may_be_a_file_name_or_a_manifest_path(table, tmp_path):
    paths = ["caf%E9.jpg", "a%2541.jpg", " spaces .jpg", "back\\slash.jpg"]
    file = table("path,label\n" + "".join(f"{path},{number}\n" for number, path in enumerate(paths)))
    assert assign_labels(str(file), paths, tmp_path).labels == ["0", "1", "2", "3"]
    file = table("path,label\na%41.jpg,x\n")
    assert assign_labels(str(file), ["a%2541.jpg"], tmp_path).labels == ["x"]


def test_a_warning_counts_the_paths_that_do_not_exist_and_names_one(table, tmp_path):
    file = table("path,label\n1.jpg,a\nlost.jpg,a\ngone.jpg,b\n")
    assert assign_labels(str(file), ["1.jpg"], tmp_path).warnings == [
        "labels.csv: 2 of 3 paths are not among the pictures, for example lost.jpg"
    ]


@pytest.mark.parametrize(
    ("content", "column"),
    [("", "path"), ("file,label\na,b\n", "path"), ("path,class\na,b\n", "label"), ("path;label\na;b\n", "path")],
)
def test_a_missing_column_is_named(table, tmp_path, content, column):
    file = table(content)
    with pytest.raises(InputError) as caught:
        assign_labels(str(file), [], tmp_path)
    assert str(caught.value) == f"{file}: column '{column}' is missing; the first line must name path,label"


@pytest.mark.parametrize("content", [b"path,label\ncaf\xe9.jpg,a\n", b"\xff\xfep\0a\0", b"path,label\n" + b"x" * 2**18])
def test_a_file_that_is_not_csv_in_utf8_is_refused(table, tmp_path, content):
    with input_error(r"labels\.csv cannot be read as CSV in UTF-8 \(.*\)$", "save-csv"):
        assign_labels(str(table(content)), [], tmp_path)


def test_a_missing_file_or_a_misspelt_rule_is_refused(tmp_path):
    for rule in ("folders", str(tmp_path / "none.csv")):
        with input_error("no such file$", "labels"):
            assign_labels(rule, [], tmp_path)
    with input_error("cannot be read as CSV", "save-csv"):
        assign_labels(str(tmp_path), [], tmp_path)


def test_short_and_blank_lines_are_skipped(table, tmp_path):
    file = table("path,label\n\na.jpg\n,b\nc.jpg,c,more,and more\n")
    assert assign_labels(str(file), ["a.jpg", "c.jpg"], tmp_path).labels == [None, "c"]


def test_groups_are_read_from_a_csv(table, tmp_path):
    file = table("path,group\n1.jpg,burst 1\n2.jpg,burst 1\n3.jpg,\n")
    assert read_groups(file, ["1.jpg", "2.jpg", "3.jpg", "4.jpg"], tmp_path) == ["burst 1", "burst 1", None, None]


def test_a_group_file_for_other_pictures_is_refused(table, tmp_path):
    file = table("path,group\nelsewhere/1.jpg,a\n")
    with input_error("none of its paths is a picture below /"):
        read_groups(file, ["1.jpg"], tmp_path)
    with pytest.raises(InputError, match="column 'group' is missing; the first line must name path,group"):
        read_groups(table("path,label\n1.jpg,a\n"), ["1.jpg"], tmp_path)


def test_labels_of_folders_that_are_not_utf8_can_be_stored():
    from winnow.common.paths import to_text

    path = to_text(os.fsdecode(b"caf\xe9/1.jpg"))
    assert by("folder", [path]) == [("caf%E9", None)]
