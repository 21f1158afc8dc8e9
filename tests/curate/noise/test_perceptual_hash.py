"""The perceptual hash is ImageHash's, bit for bit: of photographs, and of pictures so plain that rounding decides."""

from __future__ import annotations

import sys

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from support.pictures import picture

from winnow.curate.noise.perceptual_hash import perceptual_hash
from winnow.embed import images

STEPS = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (256, 256))
PLAIN = {
    "black": np.zeros((50, 40), np.uint8),
    "white": np.full((300, 200), 255, np.uint8),
    "one pixel": np.full((1, 1), 77, np.uint8),
    "stripes": np.tile(np.array([[0], [255]], np.uint8), (64, 128)),
    "steps down": STEPS,
    "steps across": STEPS.T,
    "symmetric": np.minimum(STEPS, STEPS[::-1]),
}


def reference(pixels):
    return int(str(imagehash.phash(Image.fromarray(pixels))), 16)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_pictures(name):
    pixels = np.repeat(PLAIN[name][:, :, None], 3, axis=2)
    assert perceptual_hash(pixels) == reference(pixels)


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_any_pixels(pixels):
    assert perceptual_hash(pixels) == reference(pixels)


def test_photographs(flowers):
    for path in sorted(flowers.rglob("*.jpg"))[::10]:
        pixels = images.decode(path.read_bytes())[0]
        assert perceptual_hash(pixels) == reference(pixels)


def test_an_ordinary_picture_does_not_take_imagehash(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    assert perceptual_hash(picture(3)) > 0
    with pytest.raises(ImportError):
        perceptual_hash(np.zeros((9, 9, 3), np.uint8))
