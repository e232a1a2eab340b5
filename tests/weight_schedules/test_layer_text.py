"""Layers written as text: all forms of names, factors, and messages that list the layers of the model."""

import pytest

from pack.weight_schedules.layer_text import diffusers_path, layer_names, parse_layer_text
from pack.weight_schedules.layers import weigh_layers

from .test_layers import PRUNED, REFERENCE, blocks_of

SD15, SDXL = blocks_of("sd15"), blocks_of("sdxl")


def named(weights):
    return {layer: weight for layer, weight in enumerate(weights) if weight}


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_index_lists_equal_the_reference(family):
    cases = REFERENCE["families"][family]["weight_types"]
    expected = next(value for name, value in cases.items() if name.startswith("layer_weights="))["layer_weight"]
    factors = parse_layer_text("3:2.5, 6:1.0, 8:0.3", blocks_of(family))
    assert [factor * REFERENCE["weight"] for factor in factors] == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-3:0.5", {0: 0.5, 1: 0.5, 2: 0.5, 3: 0.5}),
        ("down:0.1, mid", {0: 0.1, 1: 0.1, 2: 0.1, 3: 0.1, 4: 1.0}),
        ("up", {5: 1, 6: 1, 7: 1, 8: 1, 9: 1, 10: 1}),
        ("input8:2", {3: 2.0}),
        ("Input 8: 2", {3: 2.0}),
        ("input_blocks.8", {3: 1.0}),
        ("output0-2:0.5", {5: 0.5, 6: 0.5, 7: 0.5}),
        ("input4 - input7: 0.5", {0: 0.5, 1: 0.5, 2: 0.5}),
        ("up_blocks.0.attentions.1:1.5", {6: 1.5}),
        ("unet.down_blocks.2", {2: 1.0, 3: 1.0}),
        ("mid_block:-1", {4: -1.0}),
        ("style:1.2, composition:0.3", {3: 0.3, 6: 1.2}),
        ("all:0.5; style:1\n3:0", {0: 0.5, 1: 0.5, 2: 0.5, 4: 0.5, 5: 0.5, 6: 1, 7: 0.5, 8: 0.5, 9: 0.5, 10: 0.5}),
        ("3:1,", {3: 1.0}),
        ("3:1e-1", {3: 0.1}),
    ],
)
def test_layers_can_be_named_in_many_ways(text, expected):
    assert named(parse_layer_text(text, SDXL)) == expected


def test_roles_in_a_text_are_those_of_the_weight_types():
    assert parse_layer_text("composition", SD15) == weigh_layers("composition", 1.0, SD15).weights
    assert parse_layer_text("style", SD15) == weigh_layers("style transfer", 1.0, SD15).weights


def test_instantstyle_s_diffusers_paths_are_the_style_and_composition_layers():
    assert diffusers_path(SDXL[6]) == "up_blocks.0.attentions.1"
    assert diffusers_path(SDXL[3]) == "down_blocks.2.attentions.1"
    assert [diffusers_path(block) for block in SD15][6:8] == ["mid_block.attentions.0", "up_blocks.1.attentions.0"]


@pytest.mark.parametrize("place", ["11", "8-11", "input1", "output6", "down_blocks.0", "middle1", "face", "-1", "1.5"])
def test_a_layer_the_model_lacks_is_an_error_that_lists_the_layers_it_has(place):
    with pytest.raises(ValueError, match=r"is no layer of this model. It has: 0 \(input 4\), .* 10 \(output 5\); also"):
        parse_layer_text(f"3:1, {place}:0.5", SDXL)


@pytest.mark.parametrize("entry", ["3:", "3:strong", "3:nan", "3:1:2"])
def test_a_factor_that_is_no_number_is_an_error_that_quotes_it(entry):
    with pytest.raises(ValueError, match=f"In '{entry}' of the layer weights"):
        parse_layer_text(entry, SDXL)


def test_an_empty_text_is_an_error():
    with pytest.raises(ValueError, match="The layer weights are empty"):
        parse_layer_text(" , \n", SDXL)


def test_a_pruned_model_takes_numbers_and_blocks_and_refuses_what_it_cannot_know():
    assert layer_names(PRUNED) == ["input 4", "input 7", "output 0"]
    assert parse_layer_text("1:0.5, output0:2, mid", [*PRUNED, ("middle", 0)]) == (0.0, 0.5, 2.0, 1.0)
    with pytest.raises(ValueError, match="diffusers paths .* this model has 3 layers"):
        parse_layer_text("up_blocks.0.attentions.1:1", PRUNED)
    with pytest.raises(ValueError, match="'style' needs to know"):
        parse_layer_text("style:1", PRUNED)
    with pytest.raises(ValueError, match="'mid' is no layer of this model"):
        parse_layer_text("mid:1", PRUNED)
