"""The commands as a person types them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from support.project import PACKAGE, PROJECT

from winnow import cli
from winnow.commands import heads as fitting
from winnow.commands import options, project
from winnow.commands.embedding_options import BACKENDS, embedding_and_tta
from winnow.curate.workspace import find_workspace
from winnow.embed.config import EmbeddingConfig
from winnow.embed.recipe import Recipe
from winnow.heads.kinds import DEFAULT_HEADS

HEAVY = ["numpy", "PIL", "pyarrow", "lance", "sklearn", "scipy", "tensorflow", "keras", "onnx", "onnxruntime"]
HEAVY += ["matplotlib", "rich", "jinja2", "joblib"]


def winnow(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def process(*words: str | Path, **settings) -> subprocess.Popen:
    # Ctrl-C is heeded also where the tests run in the background, which lets new processes ignore it.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom winnow.cli import main; main()"
    )
    command = [sys.executable, "-c", code, *words]
    settings["env"] = os.environ | {"PYTHONPATH": PACKAGE}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


class TestHelp:
    @pytest.mark.parametrize("words", [["--help"], ["embed", "--help"], ["train", "--help"]])
    def test_loads_no_heavy_library(self, words: list[str]) -> None:
        code = (
            "import sys; from winnow import cli\n"
            f"try: cli.main({words})\n"
            "except SystemExit: pass\n"
            f"print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "LOADED []"

    def test_choices_are_those_of_the_code(self) -> None:
        from winnow.embed.backends import BACKENDS as engines
        from winnow.embed.images import RESIZE_FUNCTIONS
        from winnow.embed.recipe import RESIZES

        assert tuple(engines) == BACKENDS
        assert tuple(RESIZE_FUNCTIONS) == RESIZES


class TestWhichPictures:
    def test_are_those_of_the_argument(self, folder: Path) -> None:
        done = winnow("scan", folder)
        assert done.exit_code == 0
        assert str(folder) in done.stderr
        assert Path("photos.winnow/workspace.json").is_file()

    def test_are_those_of_the_one_workspace_here(self, folder: Path) -> None:
        winnow("scan", folder)
        done = winnow("scan", "--json")
        assert json.loads(done.stdout)["images"] == 12
        assert f"Pictures: {folder}" in done.stderr

    def test_are_those_of_the_environment(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WINNOW_IMAGES", str(folder))
        assert json.loads(winnow("scan", "--json").stdout)["images"] == 12

    def test_are_asked_for_when_nothing_says_which(self) -> None:
        done = winnow("embed")
        assert done.exit_code == 1
        assert done.stderr == (
            "Error: no folder of pictures is named, and the current folder has no workspace: "
            "name one, as in `winnow scan photos`, or set WINNOW_IMAGES\n"
        )

    def test_are_asked_for_when_there_are_several_workspaces(self, folder: Path) -> None:
        winnow("scan", folder)
        winnow("scan", folder / "red")
        done = winnow("embed")
        assert done.exit_code == 1
        assert "several workspaces here (photos.winnow, red.winnow)" in done.stderr

    def test_of_another_folder_of_the_same_name_are_refused(self, folder: Path, tmp_path: Path) -> None:
        winnow("scan", folder)
        other = tmp_path / "elsewhere" / "photos"
        other.mkdir(parents=True)
        done = winnow("scan", other)
        assert done.exit_code == 1
        assert "use --workspace to name another" in done.stderr
        assert winnow("scan", other, "--workspace", "other.winnow").exit_code == 0

    def test_are_never_written_to(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = tree(folder)
        winnow("scan", folder)
        assert tree(folder) == before
        monkeypatch.chdir(folder)
        done = winnow("scan", ".")
        assert done.exit_code == 1
        assert "would lie inside the pictures" in done.stderr
        assert tree(folder) == before


class TestScan:
    def test_prints_one_json_document(self, folder: Path) -> None:
        (folder / "red" / "broken.jpg").write_bytes((folder / "red" / "0.jpg").read_bytes()[:400])
        (folder / "blue" / "copy.jpg").write_bytes((folder / "blue" / "1.jpg").read_bytes())
        (folder / "notes.txt").write_text("tulips are late")
        said = json.loads(winnow("scan", folder, "--json").stdout)
        assert said["files"] == 15
        assert said["images"] == 14
        assert said["ignored"] == 1
        assert said["problems"] == 1
        assert said["problem_files"][0]["path"] == "red/broken.jpg"
        assert said["problem_files"][0]["code"] == "truncated"
        assert said["labels"] == {"blue": 7, "red": 6}
        assert said["exact_duplicates"] == 1

    def test_lists_what_is_wrong_and_what_to_do_next(self, folder: Path) -> None:
        (folder / "red" / "empty.png").touch()
        done = winnow("scan", folder)
        assert "red/empty.png  empty: the file has no bytes: copy it again or remove it" in done.stdout
        assert f"Next: winnow run {folder}" in done.stderr

    def test_shows_names_on_one_line_and_without_control_characters(self, folder: Path) -> None:
        (folder / "red" / "a\nb\x1b[31m.jpg").touch()
        done = winnow("scan", folder)
        assert "red/a\\nb\\x1b[31m.jpg  empty" in done.stdout

    def test_says_what_to_do_next_with_the_same_folders(self, folder: Path) -> None:
        assert winnow("scan", folder, "--workspace", "a b").stderr.endswith(
            f"Next: winnow run {folder} --workspace 'a b'\n"
        )
        assert winnow("scan", "--workspace", "a b").stderr.endswith("Next: winnow run --workspace 'a b'\n")

    def test_of_an_empty_folder_says_that_there_is_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "none").mkdir()
        assert json.loads(winnow("scan", "none", "--json").stdout)["images"] == 0
        done = winnow("embed", "none", "--weights", "random")
        assert done.exit_code == 1
        assert "holds no picture that can be read" in done.stderr


class TestErrors:
    def test_of_usage_exit_with_2(self, folder: Path) -> None:
        for words in (["scan", "--nope"], ["embed", folder, "--size", "50"], ["train", folder, "--head", "x"], ["no"]):
            done = winnow(*words)
            assert done.exit_code == 2, words
            assert done.stdout == ""

    def test_are_one_line_without_traceback(self, folder: Path) -> None:
        done = winnow("scan", folder, "--labels", "labels.csv")
        assert done.exit_code == 1
        assert "no such file: --labels takes folder, parent or a CSV file" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.output

    def test_show_what_a_name_would_tell_the_terminal(self, folder: Path, colours: Path, tmp_path: Path) -> None:
        (folder / "red").rename(folder / "red\x1b]0;title\x07")
        (folder / "blue").rename(tmp_path / "blue")
        done = winnow("compare", folder, "--workspace", "w", "--backbone", colours)
        assert done.exit_code == 1
        assert "labels found: red\\x1b]0;title\\x07" in done.stderr
        assert "\x1b" not in done.output
        (tmp_path / "blue").rename(folder / "blue")
        (tmp_path / "labels.csv").write_text("path,label\nblue/0.jpg,x\nno\x1b[2J.jpg,y\n")
        done = winnow("scan", folder, "--labels", "labels.csv")
        assert "note:" in done.stderr
        assert "\x1b" not in done.output

    def test_heads_and_grid_exclude_each_other(self, folder: Path) -> None:
        done = winnow("compare", folder, "--heads", "knn", "--grid", "report")
        assert done.exit_code == 2

    @pytest.mark.slow
    def test_an_interrupted_command_says_so_and_goes_on_the_next_time(self, tmp_path: Path) -> None:
        from winnow.curate.demo.dataset import draw

        draw(tmp_path / "photos", per_class=100, size=(900, 900))
        running = process("scan", "photos", cwd=tmp_path)
        while not (tmp_path / "photos.winnow" / ".lock").exists():
            time.sleep(0.01)
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
        assert running.returncode == 1
        assert errors.splitlines()[-1].startswith("Error: interrupted; what was done is kept")
        assert "Traceback" not in errors
        assert json.loads(winnow("scan", "photos", "--json").stdout)["images"] == 500


@pytest.mark.slow
class TestEmbed:
    def test_embeds_once_and_reuses(self, folder: Path) -> None:
        first = json.loads(winnow("embed", folder, "--weights", "random", "--size", "96", "--json").stdout)
        assert (first["embedded"], first["reused"], first["failed"]) == (12, 0, 0)
        assert first["dimension"] == 1280
        assert (first["backend"], first["precision"]) == ("onnx", "fp32")
        assert first["images_per_second"] > 0
        assert Path(first["store"]).is_dir()
        again = json.loads(winnow("embed", folder, "--weights", "random", "--size", "96", "--json").stdout)
        assert (again["embedded"], again["reused"]) == (0, 12)
        assert again["made_by"].startswith("onnxruntime ")

    def test_adding_a_picture_costs_one_picture_and_a_renamed_one_nothing(self, folder: Path) -> None:
        words = ("embed", folder, "--weights", "random", "--size", "96", "--json")
        winnow(*words)
        (folder / "red" / "0.jpg").rename(folder / "blue" / "renamed.jpg")
        (folder / "red" / "new.png").write_bytes(_png())
        said = json.loads(winnow(*words).stdout)
        assert (said["embedded"], said["reused"]) == (1, 12)

    def test_with_an_exported_backbone_needs_no_tensorflow(self, folder: Path) -> None:
        words = ("embed", folder, "--weights", "random", "--size", "96", "--json")
        file = json.loads(winnow(*words).stdout)["backbone"]
        code = (
            "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
            "from winnow import cli\n"
            f"cli.main(['embed', {str(folder)!r}, '--workspace', 'w', '--backbone', {file!r}, '--json'])"
        )
        environment = os.environ | {
            "PYTHONPATH": PACKAGE,
            "WINNOW_CACHE": str(folder.parent / "none"),
        }
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["embedded"] == 12

    def test_without_weights_says_which_file_to_put_where(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("winnow.embed.weights.URL", "http://127.0.0.1:9/")
        monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
        done = winnow("embed", folder)
        assert done.exit_code == 1
        last = done.stderr.splitlines()[-1]
        assert "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5" in last
        assert str(tmp_path / "no-keras-home" / "models") in last


def _png() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="class")
def demo(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> tuple[Path, dict]:
    """A whole demo in a folder of its own, untrained for want of weights: the folder, and what it printed as JSON."""
    place = tmp_path_factory.mktemp("demo")
    cache = place / "cache"  # without a network of ImageNet weights, which other tests may have exported
    cache.mkdir()
    for made in session_cache.glob("mobilenet_v2-random-*.onnx"):
        shutil.copy(made, cache)
    code = "from winnow.embed import weights; weights.URL = 'http://127.0.0.1:9/'\nfrom winnow.cli import main; main()"
    environment = os.environ | {
        "PYTHONPATH": PACKAGE,
        "WINNOW_CACHE": str(cache),
        "KERAS_HOME": str(place / "none"),
    }
    words = ["demo", "--per-class", "12", "--repeats", "2", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=place, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return place, json.loads(done.stdout) | {"stderr": done.stderr}


@pytest.mark.parametrize(
    ("kinds", "vectors", "can"),
    [
        (["lda", "dense"], EmbeddingConfig(), True),
        (["lda", "finetune"], EmbeddingConfig(), False),  # it was
        (["lda"], EmbeddingConfig(backbone=Path("own.onnx")), False),
        (["lda"], EmbeddingConfig(Recipe(weights="random")), False),
    ],
)
def test_run_speaks_of_fine_tuning_where_it_can_be_done(kinds: list[str], vectors: EmbeddingConfig, can: bool) -> None:
    heads = [{"kind": kind} for kind in kinds]
    assert project._can_be_fine_tuned({"compare": {"heads": heads}}, vectors) is can


def test_the_line_for_another_command_has_what_was_typed_and_it_takes() -> None:
    @click.command()
    @options.images
    @options.repeats
    @embedding_and_tta
    def this(**_: object) -> None:
        words = ["--head", "finetune"]
        click.echo(options.retype(fitting.train, words, without=("layer", "augment")))

    words = ["-photos", "--workspace", "a b", "--size", "288", "--augment", "4", "--layer", "x", "--repeats", "3"]
    said = CliRunner().invoke(this, ["--json", *words[1:], "--", words[0]])
    assert said.output == "winnow train ./-photos --workspace 'a b' --size 288 --head finetune\n"


@pytest.mark.slow
class TestDemo:
    def test_says_loudly_that_the_backbone_is_untrained(self, demo: tuple[Path, dict]) -> None:
        place, said = demo
        assert "THE BACKBONE IS UNTRAINED" in said["stderr"]
        assert "untrained" in Path(said["report"]).read_text().lower()

    def test_goes_from_pictures_to_a_report(self, demo: tuple[Path, dict]) -> None:
        place, said = demo
        assert said["scan"]["images"] == 60
        assert said["scan"]["problems"] == 5
        assert said["embed"]["embedded"] == 60 - 5 - said["scan"]["exact_duplicates"]
        assert {head["name"] for head in said["compare"]["heads"]} == set(DEFAULT_HEADS)
        assert set(said["seconds"]) >= {"scan", "embed", "compare", "train"}
        folder = Path(said["train"]["run"])
        for name in ("run.json", "splits.lance", "metrics.json", "history.csv", "predictions.csv", "head.onnx"):
            assert (folder / name).exists(), name

    def test_its_head_file_says_what_predictions_csv_says(self, demo: tuple[Path, dict]) -> None:
        import csv

        import numpy as np
        import onnxruntime

        from winnow.embed.backbone import load_backbone
        from winnow.embed.store import Store

        place, said = demo
        run = Path(said["train"]["run"])
        with (run / "predictions.csv").open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
        workspace = find_workspace(place / "winnow-demo", place / "winnow-demo.winnow")
        store = Store(workspace.embeddings, load_backbone(Path(said["embed"]["backbone"])))
        session = onnxruntime.InferenceSession(run / "head.onnx")
        labels, probabilities = session.run(
            ["label", "probabilities"], {"embedding": store.read([row["id"] for row in rows])}
        )
        assert labels.tolist() == [row["predicted"] for row in rows]
        written = [[float(row[name]) for name in row if name.startswith("p_")] for row in rows]
        np.testing.assert_allclose(probabilities, written, atol=1e-4)
