"""Weights of layers: every weight type equals the recorded reference, and refuses models whose roles are unknown."""

import json
from pathlib import Path

import pytest

from pack.ipadapter.families import LAYOUTS
from pack.weight_schedules.layers import WEIGHT_TYPES, rule_of, weigh_layers

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "layer_weights.json").read_text())
SETTINGS = {  # the reference's cases whose name says more than the type
    "style transfer precise, style_boost=1.5": ("style transfer precise", 1.5),
    "composition precise, composition_boost=0.4": ("composition precise", 0.4),
}
PRUNED = [("input", 4), ("input", 7), ("output", 0)]


def blocks_of(family):
    return [(part, number) for part, number in REFERENCE["families"][family]["blocks"]]


@pytest.mark.parametrize("family", REFERENCE["families"])
def test_every_weight_type_equals_the_reference(family):
    computed, expected = {}, {}
    for case, recorded in REFERENCE["families"][family]["weight_types"].items():
        if case.startswith("layer_weights="):  # texts: test_layer_text.py
            continue
        weight_type, boost = SETTINGS.get(case, (case, None))
        weight, composition = REFERENCE["weight"], REFERENCE["weight_composition"]
        layers = weigh_layers(weight_type, weight, blocks_of(family), composition_weight=composition, boost=boost)
        # The reference is printed float32: seven digits.
        computed[case] = (list(layers.weights), sorted(layers.swapped))
        expected[case] = (pytest.approx(recorded["layer_weight"], rel=0, abs=1e-7), recorded["swapped_layers"])
    assert len(computed) > 10 and computed == expected


def test_style_and_composition_alone_uses_the_weight_for_both():
    weights = weigh_layers("style and composition", 0.8, blocks_of("sdxl")).weights
    assert weights[3] == weights[6] == 0.8


def test_the_list_of_types_begins_with_the_reference_s_in_its_order():
    cases = [case for case in REFERENCE["families"]["sd15"]["weight_types"] if "=" not in case]
    listed = cases[:-1]
    assert cases[-1] == "strong style and composition" and WEIGHT_TYPES[: len(listed)] == listed


def test_position_types_work_on_a_pruned_model():
    assert weigh_layers("linear", 0.5, PRUNED).weights == (0.5, 0.5, 0.5)
    assert weigh_layers("weak output", 1.0, PRUNED).weights == (1.0, 1.0, 0.2)
    assert weigh_layers("ease in", 1.0, PRUNED).weights == pytest.approx((1.0, 0.05 + 0.95 * 2 / 3, 0.05 + 0.95 / 3))


def test_types_by_role_say_why_they_refuse_a_pruned_model():
    with pytest.raises(ValueError, match="'style transfer' needs to know .* this model has 3"):
        weigh_layers("style transfer", 1.0, PRUNED)
    with pytest.raises(ValueError, match="this model has 3"):
        rule_of("composition precise").pushed(PRUNED)


def test_an_unknown_type_lists_the_known_ones():
    with pytest.raises(ValueError, match="Unknown weight type 'stile'. Known: linear, ease in"):
        weigh_layers("stile", 1.0, PRUNED)


def test_the_blocks_of_both_families_are_the_reference_s():
    assert [list(LAYOUTS[title]) for title in ("SD1.5", "SDXL")] == [blocks_of("sd15"), blocks_of("sdxl")]
