"""From a folder to the table of its vectors: pictures are embedded while they are scanned, and only once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import lance
import numpy as np
import pytest
from PIL import Image
from support.command_line import winnow_error, winnow_json
from support.pictures import paint
from support.project import PACKAGE
from support.reporters import silent_reporter

from winnow.common.errors import InputError
from winnow.common.progress import ignore_message, ignore_progress
from winnow.curate import manifest
from winnow.curate.manifest import FileProblem
from winnow.curate.workspace import find_workspace
from winnow.embed import images
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.embed.store import read_ids, read_vectors
from winnow.workflow import embedding
from winnow.workflow.embedding import embed

RESULT_KEYS = {
    *("embedded", "reused", "failed", "failed_files", "augment", "vectors", "while_scanning"),
    *("images_per_second", "total_seconds", "workers", "batch", "backend", "made_by", "store"),
    *("dimension", "precision", "int8", "recipe", "weights", "alpha", "key", "parity", "backbone"),
}
SMALL_NETWORK = ("--weights", "random", "--alpha", 0.35, "--size", 96)


def scan_and_embed(workspace, backbone, **options):
    return embedding.scan_and_embed(workspace, EmbeddingConfig(backbone=backbone, **options), silent_reporter())


@pytest.fixture
def unusual(hues):
    """The sixty pictures of `hues` and nine more: large, rotated, progressive, of other formats, copied, damaged."""
    rng = np.random.default_rng(0)
    large = Image.fromarray(rng.integers(0, 255, (1000, 1300, 3), dtype=np.uint8)).resize((1300, 1000))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    large.save(hues / "red" / "large.jpg", exif=rotated)
    large.save(hues / "red" / "progressive.jpg", progressive=True)
    large.save(hues / "red" / "large.png")
    large.convert("CMYK").save(hues / "red" / "cmyk.jpg")
    large.convert("L").save(hues / "red" / "grey.jpg")
    large.crop((0, 0, 200, 100)).save(
        hues / "red" / "animated.gif", save_all=True, append_images=[large.crop((0, 0, 200, 100))]
    )
    (hues / "blue" / "copy.jpg").write_bytes((hues / "red" / "00.jpg").read_bytes())
    (hues / "blue" / "truncated.jpg").write_bytes((hues / "red" / "01.jpg").read_bytes()[:300])
    (hues / "blue" / "empty.jpg").write_bytes(b"")
    (hues / "notes.txt").write_text("not a picture")
    return hues


class TestScanAndEmbed:
    def test_one_pass_gives_the_manifest_and_vectors_of_two_passes(self, unusual, colours, tmp_path):
        two_passes, one_pass = (find_workspace(unusual, tmp_path / name) for name in ("two.winnow", "one.winnow"))
        manifest.scan(two_passes)
        expected, _ = embed(two_passes, EmbeddingConfig(backbone=colours), ignore_progress, ignore_message)
        folder = scan_and_embed(one_pass, colours)
        store, result = folder.store, folder.embedding
        assert manifest.read(one_pass).equals(manifest.read(two_passes))
        assert (result.embedded, result.while_scanning, result.reused, result.failed) == (66, 66, 0, 0)
        assert folder.scan.exact_duplicates == 1
        ids = sorted(expected.ids())
        assert store.ids() == set(ids)
        for column in ("vector", "bottleneck"):
            step = np.finfo(np.float16).eps  # inference on one picture and on several may differ by one step
            np.testing.assert_allclose(store.read(ids, column), expected.read(ids, column), rtol=step, atol=step / 100)

    def test_each_file_is_read_once(self, unusual, colours, monkeypatch):
        reads = Counter()
        read_bytes = images.read_bytes
        monkeypatch.setattr(images, "read_bytes", lambda path: reads.update([path.name]) or read_bytes(path))
        scan_and_embed(find_workspace(unusual), colours)
        assert reads.total() == 69
        again = scan_and_embed(find_workspace(unusual), colours).embedding
        assert (again.embedded, again.reused, again.images_per_second) == (0, 66, None)
        assert reads.total() == 69

    def test_only_new_pictures_are_embedded_and_returning_ones_are_not(self, hues, colours, tmp_path):
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

    def test_pictures_that_were_scanned_before_are_embedded_too(self, hues, colours):
        workspace = find_workspace(hues)
        manifest.scan(workspace)
        paint(hues / "red" / "new.jpg", (250, 20, 20), 901)
        result = scan_and_embed(workspace, colours, workers=3, batch_size=7).embedding
        assert (result.embedded, result.while_scanning, result.reused) == (61, 1, 0)
        assert (result.workers, result.batch) == (3, 7)

    def test_a_folder_without_pictures_is_an_error(self, tmp_path, colours):
        (tmp_path / "none").mkdir()
        with pytest.raises(InputError, match="none holds no picture that can be read"):
            scan_and_embed(find_workspace(tmp_path / "none"), colours)

    def test_the_resize_rule_decides_the_table(self, hues, colours, tmp_path):
        crop, squash = (
            scan_and_embed(find_workspace(hues, tmp_path / name), colours, recipe=Recipe(resize=name)).store
            for name in ("crop", "squash")
        )
        assert crop.path.name != squash.path.name

    @pytest.mark.slow
    def test_a_killed_run_keeps_what_it_committed_and_the_next_one_embeds_the_rest(self, hues, colours):
        """SIGKILL while every picture takes 50 ms."""
        script = """
import sys, time
from pathlib import Path
from contextlib import nullcontext
from winnow.common.progress import Reporter
from winnow.curate.workspace import find_workspace
from winnow.embed import pipeline
from winnow.workflow import embedding
pipeline.COMMIT_SECONDS = 0.1
visit = embedding.ScanEmbedder.visit
embedding.ScanEmbedder.visit = lambda *arguments: (time.sleep(0.05), visit(*arguments))[1]
config = embedding.EmbeddingConfig(backbone=Path(sys.argv[2]))
reporter = Reporter(lambda what: nullcontext(lambda done, total: None), print, "test")
embedding.scan_and_embed(find_workspace(Path(sys.argv[1])), config, reporter)
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


class TestDecodedPictures:
    @pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
    def test_the_square_of_a_decoded_picture_is_that_of_its_bytes(self, unusual, resize):
        for path in sorted((unusual / "red").iterdir()):
            data = path.read_bytes()
            for size in (96, 260):
                with images.open_image(data) as (image, _):
                    square = images.decode_square(data, size, resize, whole=image)
                np.testing.assert_array_equal(square, images.decode_square(data, size, resize), err_msg=path.name)

    def test_a_large_picture_waits_until_there_is_memory_for_it(self, unusual, monkeypatch):
        amounts = []

        class RecordingSemaphore(images.WeightedSemaphore):
            def hold(self, amount):
                amounts.append(amount)
                return super().hold(amount)

        monkeypatch.setattr(images, "_DECODING_MEMORY", RecordingSemaphore(100))
        sizes = {"large.png": 8 * 1_300_000, "large.jpg": 8 * 325_000, "progressive.jpg": 8 * 325_000 + 3 * 1_300_000}
        for name, bytes_ in sizes.items():
            images.decode_square((unusual / "red" / name).read_bytes(), 224)
            assert amounts.pop() == bytes_


class TestAugmentations:
    def test_they_are_embedded_once_and_the_plain_image_never_again(self, hues, colours):
        first = winnow_json("embed", hues, "--backbone", colours)
        augmented = winnow_json("embed", hues, "--backbone", colours, "--augment", 3)
        assert (first["embedded"], first["vectors"]) == (60, 60)
        assert (augmented["embedded"], augmented["vectors"], augmented["augment"]) == (60, 120, 3)
        again = winnow_json("embed", hues, "--backbone", colours, "--augment", 3)
        assert (again["embedded"], again["reused"], again["vectors"]) == (0, 60, 0)
        table = lance.dataset(augmented["store"]).to_table(columns=["id", "view"]).to_pylist()
        assert len({(row["id"], row["view"]) for row in table}) == len(table) == 180
        (hues / "red" / "00.jpg").rename(hues / "red" / "renamed.jpg")
        assert winnow_json("embed", hues, "--backbone", colours, "--augment", 4)["vectors"] == 60

    def test_a_full_disk_loses_no_stored_augmentation(self, hues, colours, monkeypatch):
        workspace = find_workspace(hues, None)
        manifest.scan(workspace)
        monkeypatch.setattr("winnow.embed.pipeline.COMMIT_BYTES", 0)
        write_dataset, datasets = lance.write_dataset, []

        def write_twenty(*arguments, **options):
            if len(datasets) == 20:
                raise OSError(28, "No space left on device")
            datasets.append(write_dataset(*arguments, **options))
            return datasets[-1]

        config = EmbeddingConfig(backbone=colours, augment=3)
        with monkeypatch.context() as full_disk:
            full_disk.setattr(lance, "write_dataset", write_twenty)
            with pytest.raises(InputError, match="No space left; what was committed is kept: make room and try again"):
                embed(workspace, config, ignore_progress, ignore_message)
        _, result = embed(workspace, config, ignore_progress, ignore_message)
        assert (result.embedded, result.vectors) == (40, 120)


class TestConfirmation:
    @pytest.mark.parametrize("answer", [True, False])
    def test_five_gigabytes_of_maps_are_confirmed_once_and_fewer_are_not(self, answer):
        messages, questions = [], []
        backbone = SimpleNamespace(dimension=(14, 14, 64), bottleneck=320)  # 12,864 numbers

        def confirm(question):
            questions.append(question)
            return answer

        config = EmbeddingConfig(Recipe(pool="none"), augment=8, confirm_storage=confirm)
        embedding._confirm_room(config, backbone, 190_000, messages.append)
        assert questions == []
        with nullcontext() if answer else pytest.raises(InputError, match="would take 5.1 GB"):
            embedding._confirm_room(config, backbone, 200_000, messages.append)
        assert questions == ["Store 5.1 GB of vectors?"]
        assert messages[-1] == "200,000 vectors of 12,864 numbers take about 5.15 GB"

    def test_without_it_the_command_line_names_the_options(self, hues, colours, monkeypatch):
        monkeypatch.setattr(embedding, "LARGE", 500)
        arguments = ("embed", hues, "--backbone", colours, "--augment", 2)
        message = winnow_error(*arguments)
        assert "60 vectors of 5 numbers" in message
        assert "--yes stores them; fewer --augment, or a smaller --size, take less" in message
        assert winnow_json(*arguments, "--yes")["vectors"] == 60


class TestLayers:
    @pytest.mark.slow
    def test_vectors_of_several_layers_are_concatenated(self, hues):
        both = winnow_json("embed", hues, *SMALL_NETWORK, "--layer", "out_relu,block_16_project_BN")
        one = winnow_json("embed", hues, *SMALL_NETWORK)
        ids = lance.dataset(both["store"]).to_table(columns=["id"])["id"].to_pylist()[:5]
        concatenated = read_vectors(Path(both["store"]), ids, "vector")
        parts = [read_vectors(Path(one["store"]), ids, column) for column in ("vector", "bottleneck")]
        np.testing.assert_allclose(concatenated, np.concatenate(parts, axis=1), rtol=2e-3, atol=2e-3)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            (
                "fc",
                "the network has no layer 'fc', but out_relu, Conv_1_bn, Conv_1: python -c "
                "'import keras; keras.applications.MobileNetV2(weights=None).summary()' lists all",
            ),
            ("out_relu,block_16_projct_BN", "no layer 'block_16_projct_BN', but block_16_project_BN, "),
        ],
    )
    def test_an_unknown_layer_is_answered_by_similar_names(self, hues, layers, message):
        assert message in winnow_error("embed", hues, *SMALL_NETWORK, "--layer", layers)


class TestEmbedResult:
    def test_the_document_has_the_keys_of_the_command_line(self, hues, colours):
        result = scan_and_embed(find_workspace(hues), colours).embedding
        document = result.to_json()
        assert set(document) == RESULT_KEYS | {"scan_seconds"}
        assert (document["embedded"], document["reused"], document["failed"]) == (60, 0, 0)
        assert (document["dimension"], document["backend"], document["precision"]) == (3, "onnx", "fp32")
        assert document["store"] == str(find_workspace(hues).embeddings / f"{document['key']}.lance")
        assert document["total_seconds"] >= document["scan_seconds"]

    def test_without_a_scan_there_are_no_seconds_of_one(self, hues, colours):
        workspace = find_workspace(hues)
        manifest.scan(workspace)
        _, result = embed(workspace, EmbeddingConfig(backbone=colours), ignore_progress, ignore_message)
        assert set(result.to_json()) == RESULT_KEYS

    def test_failed_pictures_are_counted_and_listed(self, hues, colours):
        result = scan_and_embed(find_workspace(hues), colours).embedding
        document = replace(result, failed_files=[FileProblem("red/00.jpg", "changed", "the file changed")]).to_json()
        assert document["failed"] == 1
        assert document["failed_files"] == [{"path": "red/00.jpg", "code": "changed", "message": "the file changed"}]
