"""Labels and splits by folder, by parent and by CSV file."""

from __future__ import annotations

import os

import pytest

from winnow.common.errors import InputError
from winnow.curate.labels import assign_labels, read_groups


def by(rule, paths):
    found = assign_labels(rule, paths, None)
    assert found.warnings == []
    return list(zip(found.labels, found.splits, strict=True))


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
def test_such_names_among_others_are_classes(tops):
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


def test_nothing_has_no_labels():
    assert by("folder", []) == []


def test_a_csv_gives_labels_and_leaves_the_rest_without(table, tmp_path):
    file = table("path,label\na/1.jpg,rose\n2.jpg, tulip \n3.jpg,\n")
    found = assign_labels(str(file), ["a/1.jpg", "2.jpg", "3.jpg", "4.jpg"], tmp_path)
    assert found.labels == ["rose", "tulip", None, None]
    assert found.splits == [None] * 4
    assert found.warnings == []


def test_a_csv_may_give_splits_in_any_order_of_columns(table, tmp_path):
    file = table("Split,Label,Path,note\nTrain,a,1,x\nvalid,a,2,x\ntest,b,3,x\nsomething,b,4,x\n,b,5,x\n")
    found = assign_labels(str(file), list("12345"), tmp_path)
    assert found.labels == ["a", "a", "b", "b", "b"]
    assert found.splits == ["train", "val", "test", None, None]
    assert found.warnings == ["labels.csv: splits other than train, val and test are passed over: something"]


def test_a_path_with_two_labels_has_the_last_and_is_told(table, tmp_path):
    file = table("path,label\n1,a\n2,a\n./1,b\n2,a\n")
    found = assign_labels(str(file), ["1", "2"], tmp_path)
    assert found.labels == ["b", "a"]
    assert found.warnings == ["labels.csv: 1 paths come again with another label, which counts, as 1"]


def test_a_csv_for_other_pictures_is_refused_but_not_before_there_are_pictures(table, tmp_path):
    file = table("path,label\nelsewhere/1.jpg,a\n")
    with pytest.raises(InputError, match=r"labels\.csv: none of its paths is among the pictures; they are looked up"):
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


def test_a_path_may_be_written_as_the_file_is_called_or_as_the_manifest_has_it(table, tmp_path):
    paths = ["caf%E9.jpg", "a%2541.jpg", " spaces .jpg", "back\\slash.jpg"]
    file = table("path,label\n" + "".join(f"{path},{number}\n" for number, path in enumerate(paths)))
    assert assign_labels(str(file), paths, tmp_path).labels == ["0", "1", "2", "3"]
    file = table("path,label\na%41.jpg,x\n")
    assert assign_labels(str(file), ["a%2541.jpg"], tmp_path).labels == ["x"]


def test_paths_that_are_not_there_are_counted_and_one_is_named(table, tmp_path):
    file = table("path,label\n1.jpg,a\nlost.jpg,a\ngone.jpg,b\n")
    assert assign_labels(str(file), ["1.jpg"], tmp_path).warnings == [
        "labels.csv: 2 of 3 paths are not among the pictures, as lost.jpg"
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
def test_a_file_that_is_no_csv_in_utf8_is_told(table, tmp_path, content):
    with pytest.raises(InputError, match=r"labels\.csv cannot be read as CSV in UTF-8 \(.*\): save it again"):
        assign_labels(str(table(content)), [], tmp_path)


def test_a_missing_file_or_a_misspelt_rule_tells_what_there_is(tmp_path):
    for rule in ("folders", str(tmp_path / "none.csv")):
        with pytest.raises(InputError, match="no such file; --labels takes folder, parent or a CSV file"):
            assign_labels(rule, [], tmp_path)
    with pytest.raises(InputError, match="cannot be read as CSV"):
        assign_labels(str(tmp_path), [], tmp_path)


def test_short_and_blank_lines_are_survived(table, tmp_path):
    file = table("path,label\n\na.jpg\n,b\nc.jpg,c,more,and more\n")
    assert assign_labels(str(file), ["a.jpg", "c.jpg"], tmp_path).labels == [None, "c"]


def test_groups_are_read_from_a_csv(table, tmp_path):
    file = table("path,group\n1.jpg,burst 1\n2.jpg,burst 1\n3.jpg,\n")
    assert read_groups(file, ["1.jpg", "2.jpg", "3.jpg", "4.jpg"], tmp_path) == ["burst 1", "burst 1", None, None]


def test_a_group_file_for_other_pictures_is_refused(table, tmp_path):
    file = table("path,group\nelsewhere/1.jpg,a\n")
    with pytest.raises(InputError, match="none of its paths is among the pictures; they are looked up below"):
        read_groups(file, ["1.jpg"], tmp_path)
    with pytest.raises(InputError, match="column 'group' is missing; the first line must name path,group"):
        read_groups(table("path,label\n1.jpg,a\n"), ["1.jpg"], tmp_path)


def test_labels_of_folders_that_are_not_utf8_can_be_stored():
    from winnow.common.paths import to_text

    path = to_text(os.fsdecode(b"caf\xe9/1.jpg"))
    assert by("folder", [path]) == [("caf%E9", None)]
