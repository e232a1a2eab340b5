"""Layers of transformers: every block is a layer, numbered in execution order; their roles are unknown."""

import pytest

from pack.ipadapter.families import FLUX, SD35
from pack.weight_schedules.easing import fall
from pack.weight_schedules.layer_text import layer_names, parse_layer_text
from pack.weight_schedules.layers import WEIGHT_TYPES, weigh_layers
from pack.weight_schedules.schedule import FirstLayers, WeightSchedule

EASED = ("linear", "ease in", "ease out", "ease in-out", "reverse in-out")


def named(text, blocks):
    return {layer: weight for layer, weight in enumerate(parse_layer_text(text, blocks)) if weight}


def test_layers_are_numbered_in_the_order_in_which_the_blocks_run():
    names = layer_names(FLUX.blocks)
    assert (names[0], names[18], names[19], names[56], len(names)) == (
        "double 0", "double 18", "single 0", "single 37", 57,
    )  # fmt: skip
    assert layer_names(SD35.blocks) == [f"joint {number}" for number in range(38)]


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("double0-18", range(19)), ("single0-37", range(19, 57)), ("single", range(19, 57)), ("double", range(19)),
        ("single_blocks.3", [22]), ("single 0", [19]), ("20-22", [20, 21, 22]), ("double17 - double18", [17, 18]),
        ("all", range(57)),
    ],
)  # fmt: skip
def test_blocks_are_named_in_many_ways(text, layers):
    assert named(text, FLUX.blocks) == dict.fromkeys(layers, 1.0)
    assert named(f"{text}:0.5", FLUX.blocks) == dict.fromkeys(layers, 0.5)


def test_joint_blocks_have_their_own_name():
    assert named("joint0-37:0.6", SD35.blocks) == dict.fromkeys(range(38), 0.6)


@pytest.mark.parametrize("place", ["57", "single38", "joint0", "input8", "mid"])
def test_a_block_the_model_lacks_is_an_error_that_says_which_there_are(place):
    expected = r"is no layer of this model. It has: 0-18 \(double0-18\), 19-56 \(single0-37\); also double, single"
    with pytest.raises(ValueError, match=expected):
        parse_layer_text(f"{place}:1", FLUX.blocks)


@pytest.mark.parametrize("blocks", [FLUX.blocks, SD35.blocks], ids=["flux", "sd3.5"])
def test_weight_types_of_unets_are_refused_and_the_message_says_which_do_work(blocks):
    for weight_type in set(WEIGHT_TYPES) - set(EASED):
        with pytest.raises(ValueError, match=rf"'{weight_type}' .*Use linear, ease in, .* IPAdapter Layer Sweep shows"):
            weigh_layers(weight_type, 1.0, blocks)


def test_easing_types_act_over_the_order_of_blocks():
    weights = weigh_layers("ease in", 1.0, FLUX.blocks).weights
    assert weights == tuple(0.05 + 0.95 * fall(layer / 57) for layer in range(57))
    assert weights[0] == 1.0 and list(weights) == sorted(weights, reverse=True)


def test_an_adapter_with_weights_for_the_first_blocks_gets_their_part_of_a_schedule():
    whole = WeightSchedule("double:0.3, single:0.7").resolve(FLUX.blocks)
    assert FirstLayers(whole, 19).at(0.5) == (0.3,) * 19
