"""Vectors are stored in atomic commits, read by id, and never mixed with vectors computed in another way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from support.project import PROJECT

from winnow.common.errors import InputError
from winnow.common.tables import open_table, wrap_read_errors
from winnow.embed.backbone import load_backbone
from winnow.embed.store import Store, read_vectors


@pytest.fixture
def backbone(colours):
    return load_backbone(colours)


@pytest.fixture
def store(backbone, tmp_path) -> Store:
    return Store(tmp_path / "embeddings", backbone, "onnx", "onnxruntime 1")


def put(store, *ids, seed=0, augmentation=0):
    """Append random rows; returns the vectors and bottlenecks as they are stored."""
    rng = np.random.default_rng(seed)
    vectors, bottlenecks = (rng.normal(size=(len(ids), width)).astype(np.float32) for width in (3, 2))
    store.append(ids, vectors, bottlenecks, augmentation)
    return vectors.astype(np.float16).astype(np.float32), bottlenecks.astype(np.float16).astype(np.float32)


def test_an_empty_store_has_no_ids_and_creates_no_file(store):
    assert store.ids() == set()
    assert store.read([]).shape == (0, 3)
    store.compact()
    assert not store.path.exists()


def test_vectors_are_read_in_the_requested_order(store):
    vectors, bottlenecks = put(store, "a", "b", "c")
    assert (store.read(["c", "a", "b"]) == vectors[[2, 0, 1]]).all()
    assert (store.read(["b", "b"], "bottleneck") == bottlenecks[[1, 1]]).all()
    assert store.read(["a"]).dtype == np.float32


def test_appends_add_up(store):
    first, _ = put(store, "a", "b")
    second, _ = put(store, "c", seed=1)
    assert store.ids() == {"a", "b", "c"}
    assert (store.read(["c", "b"]) == np.stack([second[0], first[1]])).all()


def test_a_value_is_stored_within_half_a_float16_step(store):
    values = np.array([[0.1, 5.999, -1e-3]], dtype=np.float32)
    store.append(["a"], values, values[:, :2])
    assert (abs(store.read(["a"]) - values) <= np.spacing(values.astype(np.float16)) / 2).all()


def test_a_map_is_flattened_row_by_row(backbone, tmp_path):
    store = Store(tmp_path, replace(backbone, dimension=(2, 2, 3), recipe=replace(backbone.recipe, pool="none")))
    values = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
    store.append(["a", "b"], values, np.zeros((2, 2), dtype=np.float32))
    assert (store.read(["b", "a"]) == values[::-1].reshape(2, 12)).all()


def test_another_augmentation_of_an_image_is_another_row(store):
    plain, _ = put(store, "a", "b")
    mirrored, _ = put(store, "a", seed=1, augmentation=1)
    assert (store.read(["a"]) == plain[:1]).all()
    assert (store.read(["a"], augmentation=1) == mirrored).all()
    assert store.ids(1) == {"a"}


def test_missing_vectors_are_counted(store):
    put(store, "a")
    with pytest.raises(InputError, match=rf"2 of 3 pictures have no vector in {store.path}"):
        store.read(["a", "b", "c"])


def test_the_table_records_how_its_vectors_were_computed(store, backbone):
    put(store, "a")
    table = lance.dataset(store.path)
    metadata = json.loads(table.schema.metadata[b"winnow"])
    assert metadata["recipe"] == "resize(110)|crop(96)|scale(-1,1)|mobilenet_v2(1.0)|out_relu|pool(avg)"
    assert (metadata["weights"], metadata["weights_name"]) == ("c" * 64, "imagenet")
    assert (metadata["alpha"], metadata["layer"], metadata["pool"], metadata["size"]) == (1.0, "out_relu", "avg", 96)
    assert (metadata["scale"], metadata["resize"], metadata["precision"]) == ("symmetric", "crop", "fp32")
    assert (metadata["backend"], metadata["versions"], metadata["shape"], metadata["parity"]) == (
        "onnx",
        "onnxruntime 1",
        [3],
        0.0,
    )
    assert len(metadata["backbone_sha256"]) == 64
    assert store.path.name == f"{backbone.key}.lance"
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("id", "string"),
        ("view", "int32"),
        ("vector", "fixed_size_list<item: halffloat>[3]"),
        ("bottleneck", "fixed_size_list<item: halffloat>[2]"),
    ]


OTHER = {"alpha": 0.5, "pool": "none", "size": 128, "scale": "none", "resize": "pad"}


@pytest.mark.parametrize("name", [*OTHER, "weights"])
def test_vectors_computed_in_another_way_are_refused_and_the_difference_is_named(store, backbone, tmp_path, name):
    put(store, "a")
    if name == "weights":
        other = replace(backbone, weights=replace(backbone.weights, digest="d" * 64))
    else:
        other = replace(backbone, recipe=replace(backbone.recipe, **{name: OTHER[name]}))
    mixed = Store(tmp_path / "embeddings", other)
    assert mixed.path != store.path
    store.path.rename(mixed.path)  # as after a mistaken copy
    before = lance.dataset(mixed.path).count_rows()
    for use in (mixed.ids, mixed.compact, lambda: mixed.read(["a"]), lambda: put(mixed, "b")):
        with pytest.raises(InputError, match=rf"was computed with {name} .*, not .*: move it away and it is rebuilt"):
            use()
    assert lance.dataset(mixed.path).count_rows() == before


def test_another_backend_or_version_may_add_to_the_table(store, backbone, tmp_path):
    put(store, "a")
    put(Store(tmp_path / "embeddings", backbone, "tensorflow", "tensorflow 9"), "b")
    assert store.ids() == {"a", "b"}


def test_compacting_leaves_one_file_one_version_and_every_value(store, monkeypatch):
    monkeypatch.setattr("winnow.common.tables.RETENTION", timedelta(0))
    kept = [put(store, f"{number}", seed=number)[0] for number in range(8)]
    store.compact()
    assert len(list((store.path / "data").iterdir())) == 1
    assert len(list((store.path / "_versions").glob("*.manifest"))) == 1
    assert (store.read([str(number) for number in range(8)]) == np.concatenate(kept)).all()
    put(store, "more")
    assert len(store.ids()) == 9


def test_a_reader_can_continue_while_the_table_is_compacted(store, monkeypatch):
    for number in range(3):
        put(store, f"{number}", seed=number)
    reader = lance.dataset(store.path)
    store.compact()
    assert reader.to_table()["id"].to_pylist() == ["0", "1", "2"]
    monkeypatch.setattr("winnow.common.tables.RETENTION", timedelta(0))  # a minute later
    store.compact()
    assert len(list((store.path / "data").iterdir())) == 1


def test_a_folder_without_a_commit_is_no_table(store):
    (store.path / "_versions").mkdir(parents=True)
    assert open_table(store.path) is None
    vectors, _ = put(store, "a")
    assert (store.read(["a"]) == vectors).all()


DAMAGE = {
    "gone": Path.unlink,
    "other bytes": lambda file: file.write_bytes(bytes(range(256)) * 4),
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_data_is_an_error(store, damage):
    put(store, "a")
    for file in (store.path / "data").iterdir():
        DAMAGE[damage](file)
    for use in (store.ids, lambda: store.read(["a"])):
        with pytest.raises(InputError, match=r"\.lance cannot be read \(.*\): move it away and it is rebuilt$"):
            use()


def test_a_panic_of_lance_is_an_input_error_and_an_interrupt_is_not(store):
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(InputError, match=r"cannot be read \(out of range\)"), wrap_read_errors(store.path):
        raise panic("out of range")
    with pytest.raises(KeyboardInterrupt), wrap_read_errors(store.path):
        raise KeyboardInterrupt


def test_a_table_is_read_by_its_path_alone(store):
    put(store, "a", "b")
    np.testing.assert_array_equal(read_vectors(store.path, ["b", "a"]), store.read(["b", "a"]))
    np.testing.assert_array_equal(read_vectors(store.path, ["b"], "bottleneck"), store.read(["b"], "bottleneck"))
    with pytest.raises(InputError, match="1 of 2 pictures have no vector in .*"):
        read_vectors(store.path, ["a", "z"])
    with pytest.raises(InputError, match="1 of 1 pictures have no vector"):
        read_vectors(store.path.with_name("none.lance"), ["a"])


def test_a_table_with_other_columns_is_an_error(store):
    put(store, "a")
    metadata = lance.dataset(store.path).schema.metadata
    lance.write_dataset(pa.table({"id": ["a"]}).replace_schema_metadata(metadata), store.path, mode="overwrite")
    for use in (store.ids, lambda: store.read(["a"])):
        with pytest.raises(InputError, match=r"cannot be read \(.*(view|vector).*\): move it away and it is rebuilt$"):
            use()


def test_a_damaged_table_is_an_error(store):
    put(store, "a")
    for file in (store.path / "_versions").iterdir():
        file.write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"\.lance cannot be read \(.*\): move it away and it is rebuilt") as caught:
        store.ids()
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_an_error_in_one_line(store):
    store.path.parent.parent.mkdir(exist_ok=True)
    store.path.parent.write_text("a file in the way")
    with pytest.raises(InputError) as caught:
        put(store, "a")
    assert "\n" not in str(caught.value)


FILL_THE_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from winnow.embed.backbone import load_backbone
from winnow.common.errors import InputError
from winnow.embed.store import Store
store = Store(Path(sys.argv[1]), load_backbone(Path(sys.argv[2])))
store.append(["a"], np.ones((1, 3)), np.ones((1, 2)))
if sys.argv[3] == "file":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
ids = [f"{number:064d}" for number in range(200_000)]
try:
    store.append(ids, np.random.default_rng(0).normal(size=(len(ids), 3)), np.zeros((len(ids), 2)))
except InputError as error:
    print(error)
print(sorted(store.ids()), store.read(["a"]).tolist())
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["file", "disk"])
def test_a_full_disk_is_an_error_in_one_line_and_loses_no_committed_row(tmp_path, colours, limit):
    folder = tmp_path / "embeddings"
    folder.mkdir()
    if limit == "disk":
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True)
        if mounted.returncode:
            pytest.skip("a small disk cannot be mounted here; the limit on the size of a file is tested all the same")
    try:
        arguments = [sys.executable, "-c", FILL_THE_DISK, folder, colours, limit]
        run = subprocess.run(arguments, cwd=PROJECT, capture_output=True, text=True, check=False)
    finally:
        if limit == "disk":
            subprocess.run(["umount", folder], check=True)
    message, rows = run.stdout.splitlines()
    reason = "File too large" if limit == "file" else "No space left"
    assert message.endswith(f".lance: {reason}; what was committed is kept: make room and try again")
    assert rows == "['a'] [[1.0, 1.0, 1.0]]"
    assert os.fspath(folder) in message
