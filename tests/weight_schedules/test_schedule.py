"""Weight schedules: products over layers and steps, combinations, and JSON that gives the same schedule back."""

import json
import pickle

import pytest

from pack.weight_schedules.layers import weigh_layers
from pack.weight_schedules.schedule import METHODS, CombinedSchedule, WeightSchedule
from pack.weight_schedules.schedule_json import from_json, to_json
from pack.weight_schedules.steps import StepCurve

from .test_layers import PRUNED, blocks_of

SDXL = blocks_of("sdxl")
FADING = WeightSchedule("style transfer", StepCurve("linear down"), scale=0.8)
RISING = WeightSchedule("3:0.5, 6:0.25", StepCurve("linear up"))


def test_layers_times_steps_times_scale():
    resolved = FADING.resolve(SDXL)
    for percent in (0.0, 0.25, 1.0):
        expected = [weight * (1 - percent) for weight in weigh_layers("style transfer", 0.8, SDXL).weights]
        assert resolved.at(percent) == pytest.approx(expected)
    assert not resolved.constant


def test_one_schedule_serves_models_of_different_families():
    schedule = WeightSchedule("ease in")
    assert schedule.resolve(SDXL).at(0.5) == weigh_layers("ease in", 1.0, SDXL).weights
    assert schedule.resolve(PRUNED).at(0.5) == weigh_layers("ease in", 1.0, PRUNED).weights


def test_a_layer_text_is_checked_against_the_model_it_is_applied_to():
    schedule = WeightSchedule("15:1")
    assert schedule.resolve(blocks_of("sd15")).at(0)[15] == 1.0
    with pytest.raises(ValueError, match="'15' is no layer of this model"):
        schedule.resolve(SDXL)


def test_combinations_layer_by_layer():
    expected = {
        "multiply": {6: 0.8 * 0.75 * 0.25 * 0.25},
        "add": {3: 0.125, 6: 0.6 + 0.0625},
        "max": {3: 0.125, 6: 0.6},
        "composition from second": {3: 0.125, 6: 0.6},
        "style from second": {6: 0.0625},
    }
    assert list(expected) == METHODS
    for method, weights in expected.items():
        at = CombinedSchedule(method, FADING, RISING).resolve(SDXL).at(0.25)
        assert {layer: weight for layer, weight in enumerate(at) if weight} == pytest.approx(weights)


def test_combinations_of_combinations_and_one_number_over_all():
    both = CombinedSchedule("add", FADING, RISING)
    again = CombinedSchedule("multiply", both, WeightSchedule(scale=0.5)).scaled(4)
    assert again.resolve(SDXL).at(0.25) == pytest.approx([2 * weight for weight in both.resolve(SDXL).at(0.25)])
    assert not again.resolve(SDXL).constant
    assert CombinedSchedule("max", WeightSchedule(), WeightSchedule("mid")).resolve(SDXL).constant


def test_pushed_away_layers_follow_the_schedule_they_come_from():
    precise, plain = WeightSchedule("style transfer precise"), WeightSchedule()
    assert precise.resolve(SDXL).swapped == {3}
    assert CombinedSchedule("multiply", plain, precise).resolve(SDXL).swapped == {3}
    assert CombinedSchedule("composition from second", precise, plain).resolve(SDXL).swapped == frozenset()
    assert CombinedSchedule("composition from second", plain, precise).resolve(SDXL).swapped == {3}


def test_frame_weights_multiply_and_the_shorter_list_keeps_its_last():
    one, two = WeightSchedule(frames=(1.0, 0.5, 0.25)), WeightSchedule(frames=(0.5, 2.0))
    assert CombinedSchedule("multiply", one, two).frames == (0.5, 1.0, 0.5)
    assert CombinedSchedule("multiply", one, WeightSchedule()).resolve(SDXL).frames == (1.0, 0.5, 0.25)
    assert CombinedSchedule("add", one, one).frames == one.frames
    with pytest.raises(ValueError, match="'add' needs the same frame weights"):
        CombinedSchedule("add", one, two)


def test_an_unknown_method_nan_and_unknown_roles_are_refused():
    with pytest.raises(ValueError, match="Known: multiply, add, max"):
        CombinedSchedule("average", FADING, RISING)
    with pytest.raises(ValueError, match="finite"):
        WeightSchedule(scale=float("nan"))
    with pytest.raises(ValueError, match="'style from second' needs to know"):
        CombinedSchedule("style from second", WeightSchedule(), WeightSchedule()).resolve(PRUNED)


@pytest.mark.parametrize(
    "schedule",
    [
        WeightSchedule(),
        FADING,
        WeightSchedule("style and composition", StepCurve(points=((0, 1), (0.5, 0.2))), (1, 0.5), 2.0, 0.3, 0.1),
        CombinedSchedule("max", FADING, CombinedSchedule("add", RISING, FADING), 0.5),
    ],
)
def test_json_and_pickle_give_the_same_schedule_back(schedule):
    assert from_json(to_json(schedule)) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert json.loads(to_json(schedule))["version"] == 1
    hash(schedule)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is not JSON"),
        ("[1]", '"version" and "schedule"'),
        ('{"version": 2, "schedule": {}}', "It has version 2, and this release reads version 1"),
        ('{"version": true, "schedule": {}}', "It has version True"),
        ('{"version": 1, "schedule": {"layer": "linear"}}', "Unknown entry 'layer'. Known here: layers, steps"),
        ('{"version": 1, "schedule": {"layers": 3}}', "The entry 'layers' cannot be 3"),
        ('{"version": 1, "schedule": {"scale": true}}', "The entry 'scale' cannot be True"),
        ('{"version": 1, "schedule": {"frames": ["a"]}}', "The entry 'frames' cannot be"),
        ('{"version": 1, "schedule": {"steps": {"points": [[0]]}}}', "The entry 'points' cannot be"),
        ('{"version": 1, "schedule": {"steps": {"shape": "wobble"}}}', "Unknown shape of a step curve 'wobble'"),
        ('{"version": 1, "schedule": {"method": "add", "first": {}}}', "A combination needs second"),
        ('{"version": 1, "schedule": 5}', "Expected an object with layers"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_the_message_for_a_text_that_is_no_schedule_says_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=f"This text is not a weight schedule.*{message}"):
        from_json(text)
