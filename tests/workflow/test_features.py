"""A folder is read once: pictures are embedded while they are scanned, and have the vectors they would have had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import lance
import numpy as np
import pytest
from PIL import Image
from support.pictures import paint
from support.project import PACKAGE

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.workspace import find_workspace
from winnow.embed import images
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.embed.store import read_ids
from winnow.workflow import features
from winnow.workflow.features import embed, scan_and_embed


@contextmanager
def silent(what):
    yield lambda done, total: None


def both(workspace, backbone, **choice):
    return scan_and_embed(workspace, EmbeddingConfig(backbone=backbone, **choice), silent, print)


@pytest.fixture
def odd(hues):
    """Sixty pictures and ten more: large, turned, progressive, of other formats, twice there, broken."""
    rng = np.random.default_rng(0)
    large = Image.fromarray(rng.integers(0, 255, (1000, 1300, 3), dtype=np.uint8)).resize((1300, 1000))
    turned = Image.Exif()
    turned[0x0112] = 6
    large.save(hues / "red" / "large.jpg", exif=turned)
    large.save(hues / "red" / "progressive.jpg", progressive=True)
    large.save(hues / "red" / "large.png")
    large.convert("CMYK").save(hues / "red" / "ink.jpg")
    large.convert("L").save(hues / "red" / "grey.jpg")
    large.crop((0, 0, 200, 100)).save(
        hues / "red" / "moving.gif", save_all=True, append_images=[large.crop((0, 0, 200, 100))]
    )
    (hues / "blue" / "same.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes())
    (hues / "blue" / "cut.jpg").write_bytes((hues / "red" / "01.jpg").read_bytes()[:300])
    (hues / "blue" / "none.jpg").write_bytes(b"")
    (hues / "notes.txt").write_text("not a picture")
    return hues


def test_in_one_pass_as_in_two(odd, colours, tmp_path):
    plain, joint = (find_workspace(odd, tmp_path / name) for name in ("plain.winnow", "joint.winnow"))
    manifest.scan(plain)
    expected, _ = embed(plain, EmbeddingConfig(backbone=colours), lambda done, total: None, print)
    found, store, made = both(joint, colours)
    assert manifest.read(joint).equals(manifest.read(plain))
    assert (made["embedded"], made["while_scanning"], made["reused"], made["failed"]) == (66, 66, 0, 0)
    assert found.exact_duplicates == 1
    ids = sorted(expected.ids())
    assert store.ids() == set(ids)
    for column in ("vector", "bottleneck"):
        step = np.finfo(np.float16).eps  # inferences of one and of several pictures may differ by one
        np.testing.assert_allclose(store.read(ids, column), expected.read(ids, column), rtol=step, atol=step / 100)


def test_each_file_is_read_once(odd, colours, monkeypatch):
    read = Counter()
    real = images.read_bytes
    monkeypatch.setattr(images, "read_bytes", lambda path: read.update([path.name]) or real(path))
    both(find_workspace(odd), colours)
    assert read.total() == 69
    again = both(find_workspace(odd), colours)[2]
    assert (again["embedded"], again["reused"], again["images_per_second"]) == (0, 66, None)
    assert read.total() == 69


def test_what_is_added_costs_itself_and_what_returns_nothing(hues, colours, tmp_path):
    workspace = find_workspace(hues)
    both(workspace, colours)
    paint(hues / "red" / "new.jpg", (250, 20, 20), 901)
    made = both(workspace, colours)[2]
    assert (made["embedded"], made["reused"]) == (1, 60)
    (hues / "red" / "new.jpg").rename(tmp_path / "away.jpg")
    assert both(workspace, colours)[2]["reused"] == 60
    (tmp_path / "away.jpg").rename(hues / "red" / "back.jpg")
    made = both(workspace, colours)[2]
    assert (made["embedded"], made["reused"]) == (0, 61)


def test_pictures_that_were_scanned_before_are_embedded_too(hues, colours):
    workspace = find_workspace(hues)
    manifest.scan(workspace)
    paint(hues / "red" / "new.jpg", (250, 20, 20), 901)
    made = both(workspace, colours, workers=3, batch_size=7)[2]
    assert (made["embedded"], made["while_scanning"], made["reused"]) == (61, 1, 0)
    assert (made["workers"], made["batch"]) == (3, 7)


def test_a_folder_without_pictures_says_so(tmp_path, colours):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none holds no picture that can be read"):
        both(find_workspace(tmp_path / "none"), colours)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_the_square_of_a_decoded_picture_is_that_of_its_bytes(odd, resize):
    for path in sorted((odd / "red").iterdir()):
        data = path.read_bytes()
        for size in (96, 260):
            with images.open_image(data) as (image, _):
                whole = images.decode_square(data, size, resize, whole=image)
            np.testing.assert_array_equal(whole, images.decode_square(data, size, resize), err_msg=path.name)


def test_a_large_picture_waits_until_there_is_memory_for_it(odd, monkeypatch):
    asked = []

    class Told(images.WeightedSemaphore):
        def hold(self, amount):
            asked.append(amount)
            return super().hold(amount)

    monkeypatch.setattr(images, "_DECODING_MEMORY", Told(100))
    sizes = {"large.png": 8 * 1_300_000, "large.jpg": 8 * 325_000, "progressive.jpg": 8 * 325_000 + 3 * 1_300_000}
    for name, bytes_ in sizes.items():
        images.decode_square((odd / "red" / name).read_bytes(), 224)
        assert asked.pop() == bytes_


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(hues, colours):
    """SIGKILL while every picture takes a while: what was committed is there, the rest is embedded by the next run."""
    script = """
import sys, time
from pathlib import Path
from winnow import vectors
from contextlib import contextmanager
from winnow.curate.workspace import find_workspace
from winnow.embed import pipeline
pipeline.COMMIT_SECONDS = 0.1
plain = vectors.WhileScanning.see
vectors.WhileScanning.see = lambda *given: (time.sleep(0.05), plain(*given))[1]
@contextmanager
def silent(what):
    yield lambda done, total: None
vectors.scan_and_embed(find_workspace(Path(sys.argv[1])), vectors.Vectors(backbone=Path(sys.argv[2])), silent, print)
"""
    workspace = find_workspace(hues)
    command = [sys.executable, "-c", script, str(hues), str(colours)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": PACKAGE})
    deadline = time.monotonic() + 60
    there = set()
    while not there and time.monotonic() < deadline:
        time.sleep(0.05)
        for table in workspace.embeddings.glob("*.lance"):
            there = read_ids(table)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(there) < 60
    made = both(workspace, colours)[2]
    assert made["embedded"] + made["reused"] == 60
    assert made["reused"] >= len(there)


def test_the_recipe_decides_the_square(hues, colours, tmp_path):
    crop, squash = (
        both(find_workspace(hues, tmp_path / name), colours, recipe=Recipe(resize=name))[1]
        for name in ("crop", "squash")
    )
    assert crop.path.name != squash.path.name


@pytest.mark.parametrize("answer", [True, False])
def test_five_gigabytes_of_maps_are_asked_for_once_and_fewer_are_not(answer):
    said, asked = [], []
    maps = SimpleNamespace(dimension=(14, 14, 64), bottleneck=320)  # 12,864 numbers

    def ask(question):
        asked.append(question)
        return answer

    choice = EmbeddingConfig(Recipe(pool="none"), augment=8, confirm_storage=ask)
    features._room(choice, maps, 190_000, said.append)
    assert asked == []
    with nullcontext() if answer else pytest.raises(InputError, match="would take 5.1 GB: --yes stores them; fewer"):
        features._room(choice, maps, 200_000, said.append)
    assert asked == ["Store 5.1 GB of vectors?"]
    assert said[-1] == "200,000 vectors of 12,864 numbers take about 5.15 GB"


def test_a_disk_that_is_full_costs_no_view_that_was_stored(hues, colours, monkeypatch):
    workspace = find_workspace(hues, None)
    manifest.scan(workspace)
    monkeypatch.setattr("winnow.embed.pipeline.COMMIT_BYTES", 0)
    real, written = lance.write_dataset, []

    def write(*what, **how):
        if len(written) == 20:
            raise OSError(28, "No space left on device")
        written.append(real(*what, **how))
        return written[-1]

    choice = EmbeddingConfig(backbone=colours, augment=3)
    with monkeypatch.context() as full:
        full.setattr(lance, "write_dataset", write)
        with pytest.raises(InputError, match="No space left; what was committed is kept: make room and try again"):
            embed(workspace, choice, lambda done, total: None, print)
    _, made = embed(workspace, choice, lambda done, total: None, print)
    assert (made["embedded"], made["vectors"]) == (40, 120)
