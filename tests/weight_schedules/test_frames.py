"""Weights and images by frame: the formulas, the fades between images, and the prompts that go with them."""

import json
import math

import pytest

from pack.weight_schedules.frames import (
    RANDOM,
    Strategy,
    frame_weights,
    parse_weights,
    prompt_schedule,
    timeline,
)


def test_text_is_read_across_lines_and_blanks():
    assert parse_weights("1.0, 0.5\n\n, 0 ,\n-1") == [1.0, 0.5, 0.0, -1.0]


def test_a_word_among_the_weights_is_quoted():
    with pytest.raises(ValueError, match="'strong' is not one"):
        parse_weights("1, strong")


def test_custom_weights_are_taken_as_typed_whatever_the_frames():
    assert frame_weights(Strategy("1, 0.2, 3", "custom", frames=50, start_frame=9, end_frame=2)) == [1.0, 0.2, 3.0]


def test_an_empty_text_is_a_single_zero_or_a_rise_from_0_to_1():
    assert frame_weights(Strategy("", "custom")) == [0.0]
    assert frame_weights(Strategy("", "linear", frames=3)) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("timing", "way"),
    [
        ("linear", lambda p: p),
        ("ease_in_out", lambda p: (1 - math.cos(math.pi * p)) / 2),
        ("ease_in", lambda p: math.sin(math.pi * p / 2)),
        ("ease_out", lambda p: 1 - math.cos(math.pi * p / 2)),
    ],
)
def test_timings_follow_their_formula_and_end_exactly(timing, way):
    weights = frame_weights(Strategy("0.2, 0.9", timing, frames=7))
    assert weights == pytest.approx([0.2 + 0.7 * way(i / 6) for i in range(7)])
    assert weights[-1] == 0.9


def test_ease_in_starts_fast_as_saved_workflows_mean_it():
    assert frame_weights(Strategy("0, 1", "ease_in", frames=5))[1] > 0.25
    assert frame_weights(Strategy("0, 1", "ease_out", frames=5))[1] < 0.25


def test_weights_stay_still_outside_start_and_end():
    assert frame_weights(Strategy("0, 1", "linear", 8, 2, 5)) == [0, 0, 0, 0.5, 1, 1, 1, 1]


def test_a_transition_of_1_or_0_frames_is_a_cut():
    assert frame_weights(Strategy("0, 1", "linear", 4, 2, 3)) == [0, 0, 1, 1]
    assert frame_weights(Strategy("0, 1", "linear", 4, 2, 2)) == [0, 0, 1, 1]


@pytest.mark.parametrize(("start", "end"), [(3, 2), (9, 9999)])
def test_a_start_behind_the_end_is_refused_with_both_numbers(start, end):
    with pytest.raises(ValueError, match=f"start_frame is {start}"):
        frame_weights(Strategy("0, 1", "linear", 6, start, end))


def test_there_are_always_as_many_weights_as_frames():
    for start in range(6):
        for end in range(start, 8):
            assert len(frame_weights(Strategy("0, 1", "linear", 6, start, end))) == 6


def test_random_weights_lie_between_the_two_and_return_with_the_seed():
    first = frame_weights(Strategy("0.25, 0.75", RANDOM, 50, random_seed=1))
    assert first == frame_weights(Strategy("0.25, 0.75", RANDOM, 50, random_seed=1))
    assert first != frame_weights(Strategy("0.25, 0.75", RANDOM, 50, random_seed=2))
    assert all(0.25 <= weight <= 0.75 for weight in first) and len(set(first)) == 50


def strategy(method: str, **more) -> Strategy:
    return Strategy("0, 1", "linear", frames=3, method=method, **more)


def test_full_batch_shows_each_image_through_all_weights():
    made, _ = timeline(strategy("full batch"), 2)
    assert made.weights == (0, 0.5, 1, 0, 0.5, 1)
    assert made.first == (0, 0, 0, 1, 1, 1) and made.second is None


def test_shift_batches_go_from_each_image_to_the_next():
    made, _ = timeline(strategy("shift batches"), 3)
    assert made.weights == (0, 0.5, 1, 0, 0.5, 1)
    assert made.first == (0, 0, 0, 1, 1, 1) and made.second == (1, 1, 1, 2, 2, 2)


def test_alternate_batches_of_four_equal_the_documented_example():
    made, _ = timeline(strategy("alternate batches"), 4)
    assert made.weights == (0, 0.5, 1, 1, 0.5, 0, 0, 0.5, 1)
    assert made.first == (0, 0, 0, 2, 2, 2, 2, 2, 2)
    assert made.second == (1, 1, 1, 1, 1, 1, 3, 3, 3)


def test_alternate_batches_of_an_odd_number_end_on_an_even_image():
    made, _ = timeline(Strategy("0, 1", "linear", 2, method="alternate batches"), 5)
    assert made.weights == (0, 1, 1, 0, 0, 1, 1, 0)
    assert made.first == (0, 0, 2, 2, 2, 2, 4, 4) and made.second == (1, 1, 1, 1, 3, 3, 3, 3)


def test_the_way_back_mirrors_weights_between_their_own_extremes():
    made, _ = timeline(Strategy("0.2, 0.4, 0.8", "custom", method="alternate batches"), 3)
    assert made.weights == pytest.approx((0.2, 0.4, 0.8, 0.8, 0.6, 0.2))


@pytest.mark.parametrize("method", ["shift batches", "alternate batches"])
def test_a_fade_with_one_image_is_refused(method):
    with pytest.raises(ValueError, match="needs at least two"):
        timeline(strategy(method), 1)


def test_added_frames_repeat_the_ends_of_weights_and_images():
    made, _ = timeline(strategy("shift batches", add_starting_frames=2, add_ending_frames=1), 2)
    assert made.weights == (0, 0, 0, 0.5, 1, 1)
    assert made.first == (0, 0, 0, 0, 0, 0) and made.second == (1, 1, 1, 1, 1, 1)


def test_added_frames_wait_for_images():
    assert timeline(strategy("full batch", add_starting_frames=2))[0].weights == (0, 0.5, 1)


def test_the_strategy_that_comes_out_has_the_number_of_frames_used():
    _, used = timeline(Strategy("1, 0, 1", "custom", frames=0), 2)
    assert used.frames == 3
    assert frame_weights(used) == [1, 0, 1]
    assert timeline(Strategy("0, 1", "linear", frames=0))[1].frames == 2


def test_prompts_begin_where_their_images_begin():
    _, used = timeline(Strategy("1, 0, 1", "custom", frames=0), 3)
    assert prompt_schedule(used, 3, "a cat\n\na dog") == '"0": "a cat",\n"3": "a dog",\n"6": "a dog",\n'


def test_added_frames_get_the_first_and_the_last_prompt():
    text = prompt_schedule(strategy("full batch", add_starting_frames=2, add_ending_frames=4), 2, "a\nb\nunused")
    assert text == '"0": "a",\n"2": "a",\n"5": "b",\n"8": "b",\n'


def test_prompts_with_quotes_and_backslashes_stay_readable():
    prompt = 'she said "go", (smile\\:1.2), 猫'
    text = prompt_schedule(strategy("full batch"), 1, prompt)
    assert json.loads("{" + text.rstrip().rstrip(",") + "}") == {"0": prompt}


def test_without_prompts_or_images_the_schedule_is_empty():
    assert prompt_schedule(strategy("full batch"), 0, "a") == ""
    assert prompt_schedule(strategy("full batch"), 2, " \n") == ""


def test_a_strategy_of_another_pack_gets_defaults_for_missing_entries():
    other = {"weights": "0, 1", "timing": "linear", "frames": 3, "frame_count": 2, "foreign": 1}
    assert frame_weights(Strategy.from_mapping(other)) == [0, 0.5, 1]


@pytest.mark.parametrize(
    "wrong", ["0, 1", [{"frames": 3}], {"frames": 10**9}, {"frame_count": 10**9}, {"frame_count": "2"}], ids=repr
)
def test_what_is_no_strategy_or_would_fill_the_memory_is_refused(wrong):
    with pytest.raises(ValueError, match="IPAdapter Weights"):
        Strategy.from_mapping(wrong)
