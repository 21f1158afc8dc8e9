"""Files become vectors in order; a bad picture affects no other one, and a killed run loses seconds."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import lance
import numpy as np
import pytest
from PIL import Image
from support.project import PROJECT

from winnow.embed import pipeline
from winnow.embed.backbone import load_backbone
from winnow.embed.backends import BACKENDS
from winnow.embed.images import PictureError
from winnow.embed.pipeline import TableWriter, batched, embed_files, embed_to_table, read_square
from winnow.embed.recipe import Recipe
from winnow.embed.store import Store

RECIPE = Recipe(size=96)


def grey_level(number: int) -> int:
    return 10 + number % 240


def id_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def files(tmp_path):
    """A function that writes plain grey pictures and gives (id, path) pairs; those in `broken` are cut short."""

    def write(count, broken=()):
        pairs = []
        for number in range(count):
            path = tmp_path / f"{number}.png"
            Image.new("RGB", (20, 20), (grey_level(number),) * 3).save(path)
            if number in broken:
                path.write_bytes(path.read_bytes()[:40])
            pairs.append((id_of(path), path))
        return pairs

    return write


def first_pixel(batch):
    """A session whose vector is the first pixel, (B, 3), and whose bottleneck is its red, (B, 1)."""
    vectors = batch[:, 0, 0, :].astype(np.float32)
    return vectors, vectors[:, :1]


@pytest.fixture
def store(colours, tmp_path):
    return Store(tmp_path / "embeddings", load_backbone(colours))


def test_a_square_is_decoded_turned_upright_and_resized_by_the_recipe(tmp_path):
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    image.save(tmp_path / "a.png")
    square = read_square(tmp_path / "a.png", RECIPE)
    assert (square.shape, square.dtype) == ((96, 96, 3), np.uint8)
    assert (square[:, 8:-8] == (0, 0, 255)).all()
    squashed = read_square(tmp_path / "a.png", Recipe(size=128, resize="squash"))
    assert squashed.shape == (128, 128, 3)
    assert squashed[64, 4].tolist() == [255, 0, 0]


def test_bytes_that_do_not_match_the_id_are_an_error(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert read_square(tmp_path / "a.png", RECIPE, id_of(tmp_path / "a.png")).max() == 0
    with pytest.raises(PictureError, match="changed while it was being embedded: embed it again") as caught:
        read_square(tmp_path / "a.png", RECIPE, "0" * 64)
    assert caught.value.code == "changed"


@pytest.mark.parametrize("workers", [1, 2, 8, None])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_vectors_come_in_the_order_of_the_files(files, workers, batch_size):
    pairs = files(10)
    batches = list(embed_files(pairs, RECIPE, first_pixel, workers=workers, batch_size=batch_size))
    assert [id for batch in batches for id in batch.ids] == [id for id, _ in pairs]
    assert np.concatenate([batch.vectors for batch in batches])[:, 0].tolist() == [grey_level(n) for n in range(10)]
    assert np.concatenate([batch.bottlenecks for batch in batches]).shape == (10, 1)
    assert [len(batch.ids) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)


def test_a_bad_picture_affects_neither_its_batch_nor_the_next(files):
    pairs = files(9, broken=(1, 2, 8))
    batches = list(embed_files(pairs, RECIPE, first_pixel, batch_size=3))
    vectors = {id: vector[0] for batch in batches for id, vector in zip(batch.ids, batch.vectors, strict=True)}
    assert vectors == {pairs[number][0]: grey_level(number) for number in (0, 3, 4, 5, 6, 7)}
    assert [(path, error.code) for batch in batches for path, error in batch.failed] == [
        (pairs[number][1], "truncated") for number in (1, 2, 8)
    ]


def test_a_batch_of_nothing_but_bad_pictures_never_reaches_the_session(files):
    def never(batch):
        raise AssertionError("the session was called")

    batches = list(embed_files(files(4, broken=range(4)), RECIPE, never, batch_size=2))
    assert [(len(batch.ids), len(batch.failed)) for batch in batches] == [(0, 2), (0, 2)]


def test_no_files_make_no_batches():
    assert list(embed_files([], RECIPE, first_pixel)) == []


def test_an_error_of_the_session_is_not_swallowed(files):
    def broken(batch):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(embed_files(files(3), RECIPE, broken))


def test_files_are_read_only_a_little_ahead_of_the_consumer(files):
    """Memory stays flat: however slow the consumer, at most two batches a thread and the one in hand are begun."""
    pairs = files(60)
    taken = []
    batches = embed_files(
        (taken.append(id) or (id, path) for id, path in pairs), RECIPE, first_pixel, workers=2, batch_size=2
    )
    for used, _ in enumerate(batches, start=1):
        time.sleep(0.01)
        assert len(taken) <= 2 * (used + 2 * 2)
    assert len(taken) == 60


def test_batched_yields_every_item():
    assert list(batched(range(7), 3)) == [(0, 1, 2), (3, 4, 5), (6,)]
    assert list(batched([], 3)) == []


def test_every_vector_is_stored_under_its_id(files, store, colours):
    pairs = files(10, broken=(3,))
    progress = []
    session = BACKENDS["onnx"](load_backbone(colours))
    writer = TableWriter(store)
    embed_to_table(writer, pairs, RECIPE, session, on_progress=lambda *counts: progress.append(counts))
    assert writer.embedded == 9
    assert [(path, error.code) for path, error in writer.failed] == [(pairs[3][1], "truncated")]
    assert writer.seconds > 0
    good = [pair for number, pair in enumerate(pairs) if number != 3]
    levels = np.array([grey_level(number) for number in range(10) if number != 3], dtype=np.float32) / 255
    stored = store.read([id for id, _ in good])
    assert abs(stored - levels[:, None]).max() < 5e-4
    assert progress[-1] == (10, 10)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


def test_progress_reaches_the_end_when_every_picture_is_bad(files, store):
    progress = []
    writer, pairs = TableWriter(store), files(5, broken=range(5))
    embed_to_table(writer, pairs, RECIPE, first_pixel, on_progress=lambda *counts: progress.append(counts))
    assert (writer.embedded, len(writer.failed), progress[-1]) == (0, 5, (5, 5))
    assert not store.path.exists()


def test_a_file_that_changed_or_disappeared_since_the_scan_fails_and_the_rest_is_stored(files, store, colours):
    pairs = files(6)
    Image.new("RGB", (20, 20), "white").save(pairs[1][1])
    pairs[4][1].unlink()
    writer = TableWriter(store)
    embed_to_table(writer, pairs, RECIPE, BACKENDS["onnx"](load_backbone(colours)))
    assert [(path, error.code) for path, error in writer.failed] == [
        (pairs[1][1], "changed"),
        (pairs[4][1], "unreadable"),
    ]
    assert store.ids() == {pairs[number][0] for number in (0, 2, 3, 5)}


def test_commits_happen_every_few_seconds_and_are_compacted_at_the_end(files, store, colours, monkeypatch):
    commits = []
    append = Store.append
    monkeypatch.setattr(Store, "append", lambda self, ids, *rest: commits.append(len(ids)) or append(self, ids, *rest))
    monkeypatch.setattr(pipeline, "COMMIT_SECONDS", 0.0)
    embed_to_table(TableWriter(store), files(12), RECIPE, BACKENDS["onnx"](load_backbone(colours)), batch_size=4)
    assert commits == [4, 4, 4]
    assert len(lance.dataset(store.path).get_fragments()) == 1
    commits.clear()
    monkeypatch.setattr(pipeline, "COMMIT_SECONDS", 3600)
    monkeypatch.setattr(pipeline, "COMMIT_BYTES", 5 * 3 * 4)  # five vectors of three float32
    embed_to_table(TableWriter(store), files(12), RECIPE, BACKENDS["onnx"](load_backbone(colours)), batch_size=4)
    assert commits == [8, 4]


SLOWLY = """
import sys, time
from pathlib import Path
from winnow.embed import pipeline
from winnow.embed.backbone import load_backbone
from winnow.embed.backends import BACKENDS
from winnow.embed.store import Store
import hashlib
photos, folder, file = map(Path, sys.argv[1:])
pipeline.COMMIT_SECONDS = 0.2
backbone = load_backbone(file)
quick = BACKENDS["onnx"](backbone)
files = [(hashlib.sha256(path.read_bytes()).hexdigest(), path) for path in sorted(photos.glob("*.png"))]
store = Store(folder, backbone)
stored = store.ids()
def slow(batch):
    time.sleep(0.02)
    return quick(batch)
missing = [pair for pair in files if pair[0] not in stored]
pipeline.embed_to_table(pipeline.TableWriter(store), missing, backbone.recipe, slow, workers=1,
    on_progress=lambda done, total: print(done, flush=True))
"""


@pytest.mark.slow
def test_a_killed_run_loses_little_and_the_next_continues_without_duplicates(files, store, colours, tmp_path):
    pairs = files(200)
    photos = [str(tmp_path), str(store.path.parent), str(colours)]
    run = subprocess.Popen([sys.executable, "-c", SLOWLY, *photos], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    done = 0
    for line in run.stdout:
        done = int(line)
        if done >= 120:
            run.send_signal(signal.SIGKILL)
            break
    rest = run.stdout.read()
    run.stdout.close()
    assert run.wait() == -signal.SIGKILL
    done = max([done, *map(int, rest.split())])
    kept = store.ids()
    assert done < 200
    # One commit's time of work may be lost: 0.2 s are about ten batches of four; commits take time too.
    assert done - 80 <= len(kept) <= 200 - 4
    assert len(kept) > 0
    again = subprocess.run([sys.executable, "-c", SLOWLY, *photos], cwd=PROJECT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.split()[-1] == str(200 - len(kept))
    ids = lance.dataset(store.path).to_table(columns=["id"])["id"].to_pylist()
    assert sorted(ids) == sorted({id for id, _ in pairs})
    assert abs(store.read([pairs[150][0]]) - grey_level(150) / 255).max() < 5e-4
