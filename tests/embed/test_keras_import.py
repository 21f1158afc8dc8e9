"""Keras is imported without messages and without side effects."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest
from support.project import PROJECT

from winnow.common.errors import InputError
from winnow.embed.keras_import import _without_noise, import_keras


@pytest.mark.parametrize("home", [None, "/somewhere"])
def test_keras_home_is_restored_even_if_an_import_removed_it(monkeypatch, home):
    class Removing:
        @staticmethod
        def find_spec(name, *_):
            if name == "keras":
                os.environ.pop("KERAS_HOME")
                raise ImportError

    monkeypatch.delenv("KERAS_HOME", raising=False)
    if home:
        monkeypatch.setenv("KERAS_HOME", home)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Removing, *sys.meta_path])
    with pytest.raises(InputError, match="this test needs TensorFlow"):
        import_keras("this test")
    assert os.environ.get("KERAS_HOME") == home


def test_only_the_start_up_messages_of_tensorflow_are_dropped(capfd):
    noise = b"WARNING: All log messages before absl::InitializeLog() is called\nI0000 p] oneDNN custom operations\n"
    with _without_noise():
        os.write(2, noise + b"E0000 a real error\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "E0000 a real error\nafterwards\n"


def test_messages_before_an_exception_are_passed_on(capfd):
    with contextlib.suppress(ImportError), _without_noise():
        os.write(2, b"no such library\n")
        raise ImportError
    assert capfd.readouterr().err == "no such library\n"


def test_a_crash_is_reported():
    code = "import os\nfrom winnow.embed.keras_import import _without_noise\nwith _without_noise():\n    os.abort()"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert "Fatal Python error: Aborted" in done.stderr


@pytest.mark.slow
def test_tensorflow_is_imported_silently():
    code = "from winnow.embed.keras_import import import_keras\n"
    code += "print(import_keras('this test')[1].ones(2).shape)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(2,)\n", "")
