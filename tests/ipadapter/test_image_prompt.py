"""Which keys and values the rows of a model call get."""

import pytest
import torch

from pack.ipadapter.attention import split_heads
from pack.ipadapter.image_prompt import (
    NEGATIVE,
    POSITIVE,
    ImagePrompt,
    KeysValues,
    Rows,
    Source,
    arrange as arrange_pair,
    branch_factors,
)
from pack.weight_schedules.layers import LayerWeights
from pack.weight_schedules.schedule import of_layers

HEADS, TOKENS, CHANNELS = 2, 3, 8
SITES, LAYERS = 2, 2


def randn(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pairs(images, site):
    """K and V of the positive and of the negative, (images, tokens, channels)."""
    first = 100 * site
    return [[randn(images, TOKENS, CHANNELS, seed=first + number) for number in pair] for pair in ((1, 2), (3, 4))]


class Seeded(Source):
    """Random pairs."""

    def __init__(self, images, timed):
        self.images, self.timed = images, timed

    def pair(self, site, images):
        return KeysValues(*map(tuple, pairs(self.images, site))).pick(images)


def prompt(images=1, per_frame=False, swapped=(), frames=(), timed=False, **more):
    weights = of_layers(LayerWeights((1.0,) * LAYERS, frozenset(swapped)), frames)
    return ImagePrompt(Seeded(images, timed), weights, per_frame=per_frame, **more)


def arrange(prompt, site, layer, rows):
    pair = prompt.source.pair(site, prompt.images_of(rows))
    return arrange_pair(prompt, pair, layer, rows, HEADS, 1.0)


def heads(x):
    return split_heads(x, HEADS)


def test_positive_and_negative_rows_get_their_own_tokens_in_the_order_of_the_call():
    positive, negative = pairs(1, 1)
    for branches in ((POSITIVE, NEGATIVE), (NEGATIVE, POSITIVE), (POSITIVE,)):
        k, v = arrange(prompt(), 1, 0, Rows(branches, frames=2))
        wanted = [positive if branch == POSITIVE else negative for branch in branches]
        assert torch.equal(k, heads(torch.cat([pair[0] for pair in wanted])))
        assert torch.equal(v, heads(torch.cat([pair[1] for pair in wanted])))


def test_several_images_stand_behind_each_other_as_one_row_of_tokens():
    (k, v), _ = pairs(3, 0)
    keys, values = arrange(prompt(images=3), 0, 0, Rows((POSITIVE,), frames=4))
    assert torch.equal(keys, heads(k.reshape(1, 3 * TOKENS, CHANNELS)))
    assert torch.equal(values, heads(v.reshape(1, 3 * TOKENS, CHANNELS)))


def test_frames_look_at_their_own_image_and_the_last_one_serves_the_rest():
    (k, _), _ = pairs(2, 0)
    keys, _ = arrange(prompt(images=2, per_frame=True), 0, 0, Rows((POSITIVE,), frames=4))
    assert torch.equal(keys, heads(k[[0, 1, 1, 1]]))


def test_a_context_window_picks_its_own_frames():
    (k, _), _ = pairs(4, 0)
    rows = Rows((POSITIVE,), frames=2, window=(2, 3))
    keys, _ = arrange(prompt(images=4, per_frame=True), 0, 0, rows)
    assert torch.equal(keys, heads(k[[2, 3]]))


def test_frame_weights_multiply_the_weight():
    (_, v), _ = pairs(1, 0)
    _, values = arrange(prompt(frames=(1.0, 0.25)), 0, 0, Rows((POSITIVE,), frames=2))
    assert torch.equal(values, heads(torch.cat([v, v * 0.25])))


def test_on_a_swapped_layer_the_negative_rows_get_the_image_and_the_positive_rows_nothing():
    both = Rows((POSITIVE, NEGATIVE), frames=1)
    pushed = prompt(swapped={1})
    positive, _ = pairs(1, 1)
    keys, _ = arrange(pushed, 1, 1, both)
    assert torch.equal(keys[1:], heads(positive[0]))
    assert branch_factors(pushed, 1, both) == (0.0, 1.0)
    assert branch_factors(pushed, 0, both) is None
    assert branch_factors(pushed, 1, Rows((NEGATIVE,), frames=1)) is None


def test_a_prompt_depends_on_sigma_where_its_range_its_weights_or_its_tokens_do():
    assert not prompt().depends_on_sigma
    assert prompt(timed=True).depends_on_sigma
    assert prompt(start_at=0.1).depends_on_sigma
    assert prompt(end_at=0.9).depends_on_sigma


@pytest.mark.parametrize(("frames", "picked"), [(1, [0]), (3, [0, 1, 1])])
def test_a_short_batch_repeats_its_last_entry_and_a_long_one_is_cut(frames, picked):
    assert Rows((POSITIVE,), frames).pick_frames(torch.tensor([0, 1])).tolist() == picked
