"""Keras is imported without leaving anything behind."""

from __future__ import annotations

import os
import sys

import pytest

from embed.errors import InputError
from embed.quiet_keras import import_keras


@pytest.mark.parametrize("home", [None, "/somewhere"])
def test_keras_home_is_as_before_also_when_an_import_removed_it(monkeypatch, home):
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
        import_keras("this test", "skip it")
    assert os.environ.get("KERAS_HOME") == home
