"""Quality rules detect dark, bright, blurred, tiny, thin and plain pictures, and pass good photographs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from winnow.curate.noise import quality
from winnow.curate.noise.quality import NUMBERS, RULES, broken_rules, measure
from winnow.embed import images


def photo(size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Soft seeded colours with sharp dark lines."""
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))
    pixels[::40] = pixels[:, ::40] = 10
    return Image.fromarray(pixels)


def check_rules(*pictures: Image.Image) -> list[list[str]]:
    """The names of the rules that each picture breaks."""
    rows = [measure(np.asarray(p)) | {"width": p.width, "height": p.height} for p in pictures]
    return broken_rules(pa.Table.from_pylist(rows))


SPOILT = {
    "too_dark": lambda image: ImageEnhance.Brightness(image).enhance(0.2),
    "too_bright": lambda image: Image.blend(image, Image.new("RGB", image.size, "white"), 0.8),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(max(image.size) / 60)),
    "tiny": lambda image: image.resize((80, 60)),
    "extreme_aspect": lambda image: image.crop((0, 0, 320, 100)),
    "near_uniform": lambda image: Image.blend(image, Image.new("RGB", image.size, (90, 120, 70)), 0.98),
}


def test_a_good_picture_breaks_no_rule():
    assert check_rules(photo()) == [[]]


@pytest.mark.parametrize("rule", SPOILT)
def test_each_rule_detects_its_kind_of_picture(rule):
    assert rule in check_rules(SPOILT[rule](photo()))[0]


@pytest.mark.parametrize("rule", [rule for rule in SPOILT if rule != "near_uniform"])
def test_a_spoilt_picture_breaks_only_that_rule(rule):
    assert check_rules(SPOILT[rule](photo())) == [[rule]]


def test_rules_have_names_bounds_and_descriptions():
    assert [rule.name for rule in RULES] == list(SPOILT)
    assert all(rule.low < rule.high and rule.description for rule in RULES)


def test_one_colour_has_no_contrast_and_no_edges():
    assert measure(np.full((50, 70, 3), 51, np.uint8)) == pytest.approx(
        {"highlight": 0.2, "shadow": 0.2, "contrast": 0, "sharpness": 0}, abs=1e-4
    )


def test_numbers_are_of_the_largest_and_the_smallest_channel():
    red = measure(np.full((5, 5, 3), (204, 51, 0), np.uint8))
    assert (red["highlight"], red["shadow"]) == pytest.approx((0.8, 0))


def test_contrast_is_the_deviation_of_the_channel_that_varies_most():
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10, :, 1] = 255
    assert measure(pixels)["contrast"] == pytest.approx(0.5)


def test_a_step_is_sharper_than_a_slope():
    step = np.zeros((64, 64, 3), np.uint8)
    step[:, 32:] = 255
    slope = np.repeat(np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, 0), 3, 2)
    assert measure(step)["sharpness"] == pytest.approx(1)
    assert measure(slope)["sharpness"] < 0.5


def test_numbers_hardly_change_with_the_size_of_the_picture():
    small, large = (measure(np.asarray(photo().resize(size))) for size in ((480, 360), (1920, 1440)))
    for name in ("highlight", "shadow", "contrast"):
        assert large[name] == pytest.approx(small[name], abs=0.02)
    assert large["sharpness"] == pytest.approx(small["sharpness"], rel=0.3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (2, 3)])
def test_the_smallest_pictures_are_measured(shape):
    numbers = measure(np.zeros((*shape, 3), np.uint8))
    assert list(numbers) == list(NUMBERS)
    assert np.isfinite(list(numbers.values())).all()


def test_pictures_that_were_not_measured_break_nothing():
    columns = dict.fromkeys((*NUMBERS, "width", "height"), pa.array([None, None], pa.float32()))
    assert broken_rules(pa.table(columns)) == [[], []]
    assert broken_rules(pa.table(columns).slice(0, 0)) == []


@pytest.mark.slow
def test_real_photographs_pass_and_spoilt_ones_break_their_rule(flowers):
    chosen = sorted(flowers.rglob("*.jpg"))[::10]
    good = [Image.fromarray(images.decode(path.read_bytes())[0]) for path in chosen]
    assert sum(map(bool, check_rules(*good))) <= 1
    for rule in ("too_dark", "too_bright", "blurred"):
        broken = check_rules(*map(SPOILT[rule], good))
        assert sum(rule in names for names in broken) >= 99


def test_counted_percentiles_and_deviations_are_numpys():
    rng = np.random.default_rng(0)
    for values in (rng.integers(0, 256, (60, 41)), rng.integers(0, 3, (1, 7)), np.full((2, 2), 255), np.eye(5) * 200):
        values = values.astype(np.uint8)
        for percent in (0, 5, 37.5, 99, 100):
            assert quality._percentile(values, percent) == pytest.approx(np.percentile(values, percent))
        assert quality._percentile_99(values.astype(np.float32)) == pytest.approx(np.percentile(values, 99))
        channels = np.stack([values, values.T.reshape(values.shape), 255 - values], axis=2)
        assert quality._deviations(Image.fromarray(channels)) == pytest.approx(channels.std(axis=(0, 1)))
