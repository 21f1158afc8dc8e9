"""From a scanned folder to rows that heads are trained on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from curate import dataset
from curate.manifest import scan
from curate.workspace import locate
from embed.errors import InputError


def draw(file, seed: int, kind: str | None = None) -> None:
    """A soft picture that has no near duplicate among those of other seeds."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((40, 32), Image.Resampling.BICUBIC).save(file, kind)


@pytest.fixture
def photos(tmp_path):
    """Six pictures of each of two classes."""
    for index, label in enumerate("ab"):
        for number in range(6):
            draw(tmp_path / "photos" / label / f"{number}.png", 100 * index + number)
    return tmp_path / "photos"


def read(photos, repeats=1, rule=None, **options):
    place = locate(photos)
    scan(place, rule)
    return dataset.read(locate(photos), repeats=repeats, **options)


def test_every_picture_is_a_row_in_the_order_of_paths(photos):
    data = read(photos)
    assert data.paths == [f"{label}/{number}.png" for label in "ab" for number in range(6)]
    assert data.labels == ["a"] * 6 + ["b"] * 6
    assert data.classes == ["a", "b"]
    assert data.y.tolist() == [0] * 6 + [1] * 6
    assert data.y.dtype == np.int64
    assert data.groups.dtype == np.int64
    assert len(set(data.groups.tolist())) == len(set(data.ids)) == 12
    assert data.counts() == {part: {"a": n, "b": n} for part, n in (("train", 4), ("val", 1), ("test", 1))}
    assert data.rule == "70/15/15, stratified by class, seed 0; duplicates kept together"
    assert (data.left_out, data.warnings) == ({}, [])


def test_repeats_use_the_seeds_that_follow(photos):
    data = read(photos, repeats=3, seed=4)
    assert data.rule.startswith("70/15/15, stratified by class, seed 4 to 6;")
    assert len({tuple(parts) for parts in data.parts}) > 1
    for repeat, parts in enumerate(data.parts):
        assert (read(photos, seed=4 + repeat).parts[0] == parts).all()


def test_labels_are_ordered_by_name_also_beyond_ascii(photos):
    for label in ("Z", "é", "aa"):
        for number in range(4):
            draw(photos / label / f"{number}.png", 1000 + 10 * ord(label[0]) + number)
    data = read(photos)
    assert data.classes == ["Z", "a", "aa", "b", "é"]
    assert [data.classes[index] for index in data.y] == data.labels


def test_copies_are_one_row_and_bear_the_label_of_the_majority(photos):
    data = (photos / "a/0.png").read_bytes()
    (photos / "a/copy.png").write_bytes(data)
    (photos / "b/copy.png").write_bytes(data)
    found = read(photos)
    assert len(found.ids) == 12
    assert found.paths[0] == "a/0.png"
    assert found.labels[0] == "a"
    assert found.warnings == []


def test_copies_under_as_many_labels_are_left_out(photos):
    (photos / "b/copy.png").write_bytes((photos / "a/0.png").read_bytes())
    data = read(photos)
    assert "a/0.png" not in data.paths
    assert len(data.ids) == 11
    assert data.warnings == ["left out, 1 pictures with copies under different labels, as a/0.png"]


def test_a_copy_without_a_label_has_no_say(photos):
    (photos / "stray.png").write_bytes((photos / "b/0.png").read_bytes())
    data = read(photos)
    assert sorted(data.labels) == ["a"] * 6 + ["b"] * 6
    assert data.warnings == []


def test_pictures_without_a_label_and_broken_ones_are_left_out(photos):
    draw(photos / "stray.png", 999)
    (photos / "a/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = read(photos)
    assert len(data.ids) == 12
    assert data.warnings == ["left out, 1 pictures without a label"]


def test_the_same_pixels_and_the_same_perceptual_hash_are_one_group(photos):
    with Image.open(photos / "a/0.png") as image:
        image.save(photos / "a/same.bmp")
        image.resize((80, 64), Image.Resampling.BICUBIC).save(photos / "a/larger.png")
    data = read(photos, repeats=20)
    rows = [data.paths.index(f"a/{name}") for name in ("0.png", "same.bmp", "larger.png")]
    assert len(set(data.groups[rows].tolist())) == 1
    assert len(set(data.groups.tolist())) == 12
    for parts in data.parts:
        assert len(set(parts[rows])) == 1


@pytest.mark.parametrize(("few", "text"), [(1, "c (1)"), (2, "c (2)"), (3, "c (3)")])
def test_a_class_too_small_to_divide_is_left_out_and_named(photos, few, text):
    for number in range(few):
        draw(photos / "c" / f"{number}.png", 500 + number)
    data = read(photos, repeats=2)
    assert data.classes == ["a", "b"]
    assert data.left_out == {"c": few}
    assert data.warnings == [f"left out, fewer than 4 different pictures: {text}"]


def test_four_copies_of_a_class_are_too_small_together(photos):
    for number in range(4):
        draw(photos / "c" / f"{number}.png", 500 + number % 2)
    data = read(photos)
    assert data.left_out == {"c": 2}  # two pictures, each once


def test_four_different_pictures_are_enough(photos):
    for number in range(4):
        draw(photos / "c" / f"{number}.png", 500 + number)
    assert read(photos).counts()["train"] == {"a": 4, "b": 4, "c": 2}


@pytest.mark.parametrize("keep", [0, 1])
def test_fewer_than_two_classes_are_an_error_that_says_what_to_do(tmp_path, keep):
    (tmp_path / "photos").mkdir()
    for number in range(6 * keep):
        draw(tmp_path / "photos/only" / f"{number}.png", number)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "photos")
    assert str(caught.value) == (
        f"a classifier needs two classes of 4 different pictures each; labels found: {'only' if keep else 'none'}. "
        "Put the pictures of each class in a folder of its own, or use --labels FILE.csv"
    )


def test_groups_by_a_regular_expression_stay_on_one_side(photos):
    data = read(photos, repeats=10, group_by=r"/([0-9])\.png")  # a/0 and b/0, a/1 and b/1 …
    assert data.groups[:6].tolist() == data.groups[6:].tolist() == list(range(6))
    for parts in data.parts:
        assert (parts[:6] == parts[6:]).all()
    assert data.rule.endswith("; duplicates and groups kept together")


def test_a_regular_expression_without_a_group_means_the_whole_match(photos):
    assert len(set(read(photos, group_by="[0-2]").groups.tolist())) == 9


def test_groups_by_a_csv_stay_on_one_side(photos, tmp_path):
    (tmp_path / "g.csv").write_text("path,group\na/0.png,x\na/1.png,x\nb/0.png,x\n")
    data = read(photos, repeats=10, group_by=str(tmp_path / "g.csv"))
    rows = [data.paths.index(path) for path in ("a/0.png", "a/1.png", "b/0.png")]
    for parts in data.parts:
        assert len(set(parts[rows])) == 1
    assert len(set(data.groups.tolist())) == 10


@pytest.mark.parametrize(
    ("group_by", "said"),
    [
        ("(", r"--group-by takes a CSV file or a regular expression; '\(': "),
        ("nothing", "--group-by 'nothing' matches none of the paths, as a/0.png"),
        ("none.csv", r"none\.csv: no such file; --group-by takes a CSV file or a regular expression$"),
    ],
)
def test_a_group_rule_that_cannot_be_used_is_told(photos, group_by, said):
    with pytest.raises(InputError, match=said):
        read(photos, group_by=group_by)


def test_a_picture_that_comes_moves_few_and_one_that_is_renamed_none(photos):
    for number in range(6, 40):
        draw(photos / "a" / f"{number}.png", 2000 + number)
    before = read(photos)
    (photos / "a/5.png").rename(photos / "a/zz.png")
    renamed = read(photos)
    side = dict(zip(before.ids, before.parts[0], strict=True))
    assert dict(zip(renamed.ids, renamed.parts[0], strict=True)) == side
    draw(photos / "a" / "new.png", 9999)
    more = read(photos)
    moved = [id for id, part in zip(more.ids, more.parts[0], strict=True) if side.get(id, part) != part]
    assert len(moved) <= 3


def given(tmp_path, **counts):
    """Folders as given splits: `train=(8, 8)` draws so many of classes a and b."""
    for index, (part, of_part) in enumerate(counts.items()):
        for label, count in zip("abc", of_part, strict=False):
            for number in range(count):
                draw(tmp_path / "photos" / part / label / f"{number}.png", 10_000 * index + 100 * ord(label) + number)
    return tmp_path / "photos"


def test_given_splits_are_honoured_once_whatever_the_repeats(tmp_path):
    data = read(given(tmp_path, train=(3, 2), val=(1, 1), test=(2, 1)), repeats=10)
    assert len(data.parts) == 1
    assert data.counts() == {"train": {"a": 3, "b": 2}, "val": {"a": 1, "b": 1}, "test": {"a": 2, "b": 1}}
    assert data.rule.startswith("as the folders give them")
    assert (data.left_out, data.warnings) == ({}, [])


def test_a_missing_val_is_taken_from_train(tmp_path):
    data = read(given(tmp_path, train=(20, 20), test=(5, 5)))
    assert data.counts() == {"train": {"a": 17, "b": 17}, "val": {"a": 3, "b": 3}, "test": {"a": 5, "b": 5}}


def test_a_duplicate_on_both_sides_is_left_out_of_train(tmp_path):
    photos = given(tmp_path, train=(4, 4), val=(2, 2), test=(2, 2))
    (photos / "train/a/copy.png").write_bytes((photos / "test/a/0.png").read_bytes())  # one id: stays in test
    with Image.open(photos / "test/b/0.png") as image:
        image.save(photos / "train/b/near.bmp")  # another id, the same pixels: left out
    data = read(photos)
    assert data.counts() == {"train": {"a": 4, "b": 4}, "val": {"a": 2, "b": 2}, "test": {"a": 2, "b": 2}}
    assert "train/b/near.bmp" not in data.paths
    assert data.warnings == [
        "left out, 1 pictures with no split of their own, a copy in another one, or a class with fewer than 2 in train"
    ]


def test_a_class_that_is_only_in_test_is_left_out(tmp_path):
    photos = given(tmp_path, train=(4, 4), val=(1, 1), test=(1, 1))
    draw(photos / "test" / "c" / "0.png", 77)
    data = read(photos)
    assert data.classes == ["a", "b"]
    assert "left out, 1 pictures" in data.warnings[0]


def test_pictures_without_a_split_among_given_ones_are_left_out(tmp_path):
    photos = given(tmp_path, train=(4, 4), val=(1, 1), test=(1, 1))
    table = tmp_path / "labels.csv"
    rows = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    lines = [f"{row},{row.split('/')[1]},{row.split('/')[0] if '/a/3' not in row else ''}" for row in rows]
    table.write_text("path,label,split\n" + "\n".join(lines))
    data = read(photos, rule=str(table))
    assert data.counts()["train"] == {"a": 3, "b": 4}
    assert "left out, 1 pictures with no split of their own" in data.warnings[0]


def test_nothing_but_duplicates_in_train_is_an_error_not_a_crash(tmp_path):
    photos = given(tmp_path, test=(2, 2))
    for file in list(photos.rglob("*.png")):
        with Image.open(file) as image:
            target = photos / "train" / file.parent.name / f"{file.stem}.bmp"
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target)
    with pytest.raises(InputError, match=r"labels found: a, b \(left out, 8 pictures with no split of their own"):
        read(photos)


def test_a_class_with_one_training_picture_is_left_out(tmp_path):
    data = read(given(tmp_path, train=(4, 4, 1), val=(1, 1, 1), test=(1, 1, 1)))
    assert data.classes == ["a", "b"]
    assert data.warnings == [
        "left out, 3 pictures with no split of their own, a copy in another one, or a class with fewer than 2 in train"
    ]


def test_groups_that_leave_no_class_are_told(photos):
    with pytest.raises(InputError) as caught:
        read(photos, group_by="^[ab]")
    assert str(caught.value).startswith(
        "a classifier needs two classes in at least 4 groups each; labels found: a, b "
        "(left out, fewer than 4 different pictures: a (6), b (6)). Put the pictures"
    )


def test_classes_and_their_indexes_are_computed_once(photos):
    data = read(photos)
    assert data.y is data.y
    assert data.classes is data.classes


def test_groups_across_classes_leave_no_picture_out(photos):
    """Class c has five pictures, but every one is grouped with a picture of a."""
    for number in range(5):
        draw(photos / "c" / f"{number}.png", 700 + number)
    data = read(photos, group_by=r"[ac]/([0-4])\.png")
    assert Counter(data.labels) == {"a": 6, "b": 6, "c": 5}
    assert data.left_out == {}


def test_a_part_that_cannot_be_filled_is_an_error_that_names_it(tmp_path):
    photos = given(tmp_path, train=(2, 2), test=(2, 2))
    with pytest.raises(InputError, match="no picture is left for val: add some"):
        read(photos)
