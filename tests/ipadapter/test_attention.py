"""Decoupled cross-attention as the paper writes it (arXiv:2308.06721, equation 5), in plain torch."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from pack.ipadapter.attention import SCALINGS, ImageTokens, at_weight, decoupled_attention, split_heads

ROWS, QUERIES, TOKENS, HEADS, CHANNELS = 4, 6, 3, 2, 16


def attend(q, k, v):
    return scaled_dot_product_attention(q, k, v)


def randn(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(q, k, v):
    """softmax(q k^T / sqrt(d)) v, head by head, of (rows, n, channels) each."""
    width = CHANNELS // HEADS
    parts = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / width**0.5
        parts.append(scores.softmax(-1) @ v[..., part])
    return torch.cat(parts, -1)


@pytest.fixture
def q():
    return randn(ROWS, QUERIES, CHANNELS, seed=1)


@pytest.fixture
def text():
    return randn(ROWS, QUERIES, CHANNELS, seed=2)


def image(seed, groups, mask=None):
    """Keys and values (groups, tokens, channels), and the same as a site gets them."""
    k, v = randn(groups, TOKENS, CHANNELS, seed=seed), randn(groups, TOKENS, CHANNELS, seed=seed + 1)
    return k, v, ImageTokens(split_heads(k, HEADS), split_heads(v, HEADS), mask)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)  # 64-bit sums in another order


@pytest.mark.parametrize("groups", [1, 2, ROWS])
def test_it_is_the_attention_to_the_text_plus_that_to_the_image(q, text, groups):
    k, v, tokens = image(10, groups)
    rows = [row * groups // ROWS for row in range(ROWS)]  # rows of a group share their image tokens
    close(decoupled_attention(text, q, [tokens], attend), text + by_hand(q, k[rows], v[rows]))


def test_several_images_add_up_in_any_order(q, text):
    (k, v, first), (k2, v2, second) = image(10, ROWS), image(20, ROWS)
    expected = text + by_hand(q, k, v) + by_hand(q, k2, v2)
    close(decoupled_attention(text, q, [first, second], attend), expected)
    close(decoupled_attention(text, q, [second, first], attend), expected)


def test_no_image_gives_the_attention_to_the_text_itself(q, text):
    assert decoupled_attention(text, q, [], attend) is text


def test_a_mask_says_how_much_every_query_sees(q, text):
    mask = torch.linspace(0, 1, QUERIES, dtype=torch.float64).view(1, QUERIES, 1)
    k, v, tokens = image(10, ROWS, mask)
    close(decoupled_attention(text, q, [tokens], attend), text + mask * by_hand(q, k, v))


def test_a_mask_of_ones_equals_none_and_a_mask_of_zeros_equals_no_image_bit_for_bit(q, text):
    _, _, plain = image(10, ROWS)
    ones, zeros = (image(10, ROWS, torch.full((1, 1, 1), value, dtype=torch.float64))[2] for value in (1.0, 0.0))
    assert torch.equal(decoupled_attention(text, q, [ones], attend), decoupled_attention(text, q, [plain], attend))
    assert torch.equal(decoupled_attention(text, q, [zeros], attend), text)


def test_what_comes_in_stays_as_it_is(q, text):
    _, _, tokens = image(10, 1, torch.ones(1, 1, 1, dtype=torch.float64) / 2)
    before = [x.clone() for x in (q, text, tokens.keys, tokens.values)]
    decoupled_attention(text, q, [tokens], attend)
    assert all(torch.equal(x, y) for x, y in zip((q, text, tokens.keys, tokens.values), before, strict=True))


@pytest.mark.parametrize("name", SCALINGS)
def test_every_scaling_is_a_straight_line_in_the_weight(name):
    """Schedules find K and V at a weight between those at 0 and at 1."""
    k, v = randn(2, TOKENS, CHANNELS, seed=3), randn(2, TOKENS, CHANNELS, seed=4)
    none, full = (SCALINGS[name](k, v, weight) for weight in (0.0, 1.0))
    for weight in (-0.5, 0.3, 1.7):
        for found, expected in zip(at_weight(none, full, weight), SCALINGS[name](k, v, weight), strict=True):
            close(found, expected)


def test_v_only_scales_what_the_image_attention_gives(q, text):
    k, v, _ = image(10, ROWS)
    scaled = ImageTokens(*(split_heads(x, HEADS) for x in SCALINGS["V only"](k, v, 0.3)))
    close(decoupled_attention(text, q, [scaled], attend), text + 0.3 * by_hand(q, k, v))


def test_a_gain_multiplies_what_the_image_attention_gives_with_and_without_a_mask(q, text):
    k, v, tokens = image(10, ROWS)
    mask = randn(1, QUERIES, 1, seed=8)
    for of_mask in (None, mask):
        found = decoupled_attention(text, q, [tokens._replace(mask=of_mask, gain=0.3)], attend)
        close(found, text + 0.3 * (1 if of_mask is None else of_mask) * by_hand(q, k, v))


def test_a_weight_per_row_is_that_row_s_weight():
    k, v = randn(2, TOKENS, CHANNELS, seed=3), randn(2, TOKENS, CHANNELS, seed=4)
    weights = torch.tensor([0.2, 0.9], dtype=torch.float64).view(2, 1, 1)
    for scaling in SCALINGS.values():
        together = scaling(k, v, weights)
        for row, weight in enumerate((0.2, 0.9)):
            for found, expected in zip(together, scaling(k[row : row + 1], v[row : row + 1], weight), strict=True):
                close(found.expand_as(k)[row : row + 1], expected)
