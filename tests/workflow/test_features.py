"""A folder is read once: pictures are embedded while they are scanned, and have the vectors they would have had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace

import lance
import numpy as np
import pytest
from PIL import Image
from support.pictures import paint
from support.project import PACKAGE
from support.reporters import silent_reporter

from winnow.common.errors import InputError
from winnow.curate import manifest
from winnow.curate.workspace import find_workspace
from winnow.embed import images
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.embed.store import read_ids
from winnow.workflow import features
from winnow.workflow.features import embed


def scan_and_embed(workspace, backbone, **options):
    return features.scan_and_embed(workspace, EmbeddingConfig(backbone=backbone, **options), silent_reporter())


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
    folder = scan_and_embed(joint, colours)
    store, result = folder.store, folder.embedding
    assert manifest.read(joint).equals(manifest.read(plain))
    assert (result.embedded, result.while_scanning, result.reused, result.failed) == (66, 66, 0, 0)
    assert folder.scan.exact_duplicates == 1
    ids = sorted(expected.ids())
    assert store.ids() == set(ids)
    for column in ("vector", "bottleneck"):
        step = np.finfo(np.float16).eps  # inferences of one and of several pictures may differ by one
        np.testing.assert_allclose(store.read(ids, column), expected.read(ids, column), rtol=step, atol=step / 100)


def test_each_file_is_read_once(odd, colours, monkeypatch):
    read = Counter()
    real = images.read_bytes
    monkeypatch.setattr(images, "read_bytes", lambda path: read.update([path.name]) or real(path))
    scan_and_embed(find_workspace(odd), colours)
    assert read.total() == 69
    again = scan_and_embed(find_workspace(odd), colours).embedding
    assert (again.embedded, again.reused, again.images_per_second) == (0, 66, None)
    assert read.total() == 69


def test_what_is_added_costs_itself_and_what_returns_nothing(hues, colours, tmp_path):
    workspace = find_workspace(hues)
    scan_and_embed(workspace, colours)
    paint(hues / "red" / "new.jpg", (250, 20, 20), 901)
    result = scan_and_embed(workspace, colours).embedding
    assert (result.embedded, result.reused) == (1, 60)
    (hues / "red" / "new.jpg").rename(tmp_path / "away.jpg")
    assert scan_and_embed(workspace, colours).embedding.reused == 60
    (tmp_path / "away.jpg").rename(hues / "red" / "back.jpg")
    result = scan_and_embed(workspace, colours).embedding
    assert (result.embedded, result.reused) == (0, 61)


def test_pictures_that_were_scanned_before_are_embedded_too(hues, colours):
    workspace = find_workspace(hues)
    manifest.scan(workspace)
    paint(hues / "red" / "new.jpg", (250, 20, 20), 901)
    result = scan_and_embed(workspace, colours, workers=3, batch_size=7).embedding
    assert (result.embedded, result.while_scanning, result.reused) == (61, 1, 0)
    assert (result.workers, result.batch) == (3, 7)


def test_a_folder_without_pictures_says_so(tmp_path, colours):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none holds no picture that can be read"):
        scan_and_embed(find_workspace(tmp_path / "none"), colours)


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
from contextlib import nullcontext
from winnow.common.progress import Reporter
from winnow.curate.workspace import find_workspace
from winnow.embed import pipeline
from winnow.workflow import features
pipeline.COMMIT_SECONDS = 0.1
visit = features.ScanEmbedder.visit
features.ScanEmbedder.visit = lambda *arguments: (time.sleep(0.05), visit(*arguments))[1]
config = features.EmbeddingConfig(backbone=Path(sys.argv[2]))
reporter = Reporter(lambda what: nullcontext(lambda done, total: None), print, "test")
features.scan_and_embed(find_workspace(Path(sys.argv[1])), config, reporter)
"""
    workspace = find_workspace(hues)
    command = [sys.executable, "-c", script, str(hues), str(colours)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": PACKAGE})
    deadline = time.monotonic() + 60
    stored = set()
    while not stored and time.monotonic() < deadline:
        time.sleep(0.05)
        for table in workspace.embeddings.glob("*.lance"):
            stored = read_ids(table)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(stored) < 60
    result = scan_and_embed(workspace, colours).embedding
    assert result.embedded + result.reused == 60
    assert result.reused >= len(stored)


def test_the_resize_rule_decides_the_table(hues, colours, tmp_path):
    crop, squash = (
        scan_and_embed(find_workspace(hues, tmp_path / name), colours, recipe=Recipe(resize=name)).store
        for name in ("crop", "squash")
    )
    assert crop.path.name != squash.path.name


@pytest.mark.parametrize("answer", [True, False])
def test_five_gigabytes_of_maps_are_confirmed_once_and_fewer_are_not(answer):
    messages, questions = [], []
    maps = SimpleNamespace(dimension=(14, 14, 64), bottleneck=320)  # 12,864 numbers

    def confirm(question):
        questions.append(question)
        return answer

    config = EmbeddingConfig(Recipe(pool="none"), augment=8, confirm_storage=confirm)
    features._confirm_room(config, maps, 190_000, messages.append)
    assert questions == []
    with nullcontext() if answer else pytest.raises(InputError, match="would take 5.1 GB"):
        features._confirm_room(config, maps, 200_000, messages.append)
    assert questions == ["Store 5.1 GB of vectors?"]
    assert messages[-1] == "200,000 vectors of 12,864 numbers take about 5.15 GB"


def test_a_full_disk_costs_no_stored_augmentation(hues, colours, monkeypatch):
    workspace = find_workspace(hues, None)
    manifest.scan(workspace)
    monkeypatch.setattr("winnow.embed.pipeline.COMMIT_BYTES", 0)
    real, written = lance.write_dataset, []

    def write(*what, **how):
        if len(written) == 20:
            raise OSError(28, "No space left on device")
        written.append(real(*what, **how))
        return written[-1]

    config = EmbeddingConfig(backbone=colours, augment=3)
    with monkeypatch.context() as full:
        full.setattr(lance, "write_dataset", write)
        with pytest.raises(InputError, match="No space left; what was committed is kept: make room and try again"):
            embed(workspace, config, lambda done, total: None, print)
    _, result = embed(workspace, config, lambda done, total: None, print)
    assert (result.embedded, result.vectors) == (40, 120)
