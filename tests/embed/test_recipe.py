"""Every option of a recipe that changes the vector changes the key of its table."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from winnow.common.digests import digest
from winnow.common.errors import InputError
from winnow.embed.recipe import ALPHAS, Recipe

OTHERS = {"alpha": 0.5, "pool": "none", "size": 320, "scale": "none", "resize": "squash", "precision": "int8"}


def test_the_string_lists_every_step_in_order():
    assert str(Recipe()) == "resize(256)|crop(224)|scale(-1,1)|mobilenet_v2(1.0)|out_relu|pool(avg)"
    assert str(Recipe(**OTHERS)) == "squash(320)|scale(none)|mobilenet_v2(0.5)|out_relu|pool(none)|int8"


@pytest.mark.parametrize(("name", "value"), OTHERS.items())
def test_every_option_changes_the_key_and_the_string(name, value):
    changed = Recipe(**{name: value})
    assert changed.key("w") != Recipe().key("w")
    assert str(changed) != str(Recipe())


def test_every_field_is_in_the_key():
    """Even a field with a single value so far: a second value must not share the table of the first."""
    recipe = Recipe()
    fields = asdict(recipe) | {"weights": "w"}
    assert recipe.key("w") == digest(fields)[:12]
    assert set(fields) == {"weights", "alpha", "layer", "pool", "size", "scale", "resize", "precision"}


def test_the_key_contains_the_weights_and_not_their_name():
    assert Recipe().key("one") != Recipe().key("two")
    assert Recipe(weights="imagenet").key("one") == Recipe(weights="my.h5").key("one")


def test_the_key_is_twelve_hex_digits_and_the_same_everywhere():
    assert Recipe().key("w") == "6cd6e14fdc0a"


@pytest.mark.parametrize("same", [{"alpha": 1}, {"alpha": 1.0}, {"size": 224.0}])
def test_equal_numbers_give_one_recipe_and_one_key(same):
    assert Recipe(**same) == Recipe()
    assert Recipe(**same).key("w") == Recipe().key("w")
    assert str(Recipe(**same)) == str(Recipe())


def test_only_what_is_in_the_graph_changes_the_graph():
    assert Recipe(resize="pad", weights="random").graph_options() == Recipe().graph_options()
    for name in OTHERS.keys() - {"resize"}:
        assert Recipe(**{name: OTHERS[name]}).graph_options() != Recipe().graph_options()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("alpha", 0.9, "one of 0.35, 0.5, 0.75, 1.0, 1.3, 1.4"),
        ("alpha", "1.0", "one of 0.35, 0.5, 0.75, 1.0, 1.3, 1.4"),
        ("layer", "", "the name of a layer, or several separated by commas"),
        ("layer", "out_relu,", "the name of a layer, or several separated by commas"),
        ("pool", "max", "one of avg, none"),
        ("size", 95, "a whole number, 96 to 448"),
        ("size", 449, "a whole number, 96 to 448"),
        ("size", 224.5, "a whole number, 96 to 448"),
        ("size", "224", "a whole number, 96 to 448"),
        ("scale", "unit", "one of symmetric, none"),
        ("resize", "stretch", "one of crop, squash, pad"),
        ("precision", "fp16", "one of fp32, int8"),
    ],
)
def test_a_value_out_of_range_is_an_error_that_lists_what_is_allowed(name, value, allowed):
    with pytest.raises(InputError) as caught:
        Recipe(**{name: value})
    assert str(caught.value) == f"The '{name}' option must be {allowed}. Got {value!r} instead."


def test_the_ends_of_the_ranges_are_allowed():
    assert [Recipe(size=size).size for size in (96, 448)] == [96, 448]
    assert [Recipe(alpha=alpha).alpha for alpha in ALPHAS] == list(ALPHAS)


def test_digest_does_not_depend_on_the_order_of_fields():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


def test_layers_are_separated_by_commas_and_a_map_has_one_layer():
    assert Recipe(layer="out_relu, block_16_project_BN").layers == ("out_relu", "block_16_project_BN")
    with pytest.raises(InputError, match="The 'layer' option must be one layer if pool is none. Got 'a,b' instead."):
        Recipe(layer="a,b", pool="none")
