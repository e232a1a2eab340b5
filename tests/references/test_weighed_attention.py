"""Attention in which references weigh more or less: identities of its formula."""

import pytest
import torch

from pack.ipadapter.sequences import Layout, layout_of
from pack.ipadapter.weighed_attention import Heard, biases_of, groups_of, log_bias, weighed_attention

TEXT, PICTURE, SIZE = 5, 12, 8
LAYOUT = Layout(TEXT, PICTURE, (SIZE, SIZE))
HEAD = slice(0, TEXT + PICTURE)
FIRST, SECOND = LAYOUT.references
ROUNDING = 1e-6  # float32, of values about 1


def plain(q, k, v, heads, bias):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2)


@pytest.fixture(scope="module")
def qkv():
    make = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, LAYOUT.keys, 16, generator=make) for _ in range(3))
    return 2 * q, 2 * k, v


def masked(weight, mask):
    """A reference whose weight on the picture's rows is masked, mask (1, PICTURE, 1)."""
    mean = mask.mean(1, keepdim=True)
    return Heard(weight * torch.cat((mean.expand(1, TEXT, 1), mask), 1), weight * mean)


def through_bias(weight):
    return masked(weight, torch.ones(1, PICTURE, 1))


def weigh(qkv, *heard, layout=LAYOUT, biased=plain, mask=None):
    heard = [one if isinstance(one, Heard) else Heard(one, one) for one in heard]
    q, k, v = qkv
    groups = groups_of(layout, q.shape[2], heard)
    biases = biases_of(layout, groups, q)
    return torch.cat(weighed_attention(q, k, v, q.shape[1], layout, groups, biases, plain, biased, mask), 1)


def same(one, other):
    torch.testing.assert_close(one, other, rtol=ROUNDING, atol=ROUNDING)


def without(qkv, *spans):
    """The attention without the keys of some references."""
    left = torch.ones(LAYOUT.keys, dtype=torch.bool)
    for span in spans:
        left[span] = False
    q, k, v = qkv
    return plain(q, k[:, :, left], v[:, :, left], 2, None)


def test_weight_1_is_the_plain_attention_and_weight_0_that_without_the_keys(qkv):
    q, k, v = qkv
    full = plain(q, k, v, 2, None)
    same(weigh(qkv, 1.0, 1.0), full)
    same(weigh(qkv, through_bias(1.0), through_bias(1.0)), full)
    for none in (0.0, through_bias(0.0)):
        both = weigh(qkv, none, none)
        same(both[:, HEAD], without(qkv, FIRST, SECOND)[:, HEAD])
        same(both[:, FIRST], without(qkv, SECOND)[:, FIRST])  # its own rows hear it still
        same(weigh(qkv, 1.0, none)[:, HEAD], without(qkv, SECOND)[:, HEAD])
        same(weigh(qkv, none, 1.0)[:, SECOND], without(qkv, FIRST)[:, SECOND])


def test_weight_2_is_the_reference_twice(qkv):
    q, k, v = qkv
    twice = plain(q, torch.cat((k, k[:, :, FIRST]), 2), torch.cat((v, v[:, :, FIRST]), 2), 2, None)
    weighed = weigh(qkv, 2.0, 1.0)
    same(weighed[:, HEAD], twice[:, HEAD])
    same(weighed[:, SECOND], twice[:, SECOND])
    same(weighed[:, FIRST], plain(q, k, v, 2, None)[:, FIRST])


@pytest.mark.parametrize("weight", [0.1, 0.5, 4.0])
def test_a_weight_multiplies_the_odds_of_a_reference(qkv, weight):
    q, k, _ = qkv
    marks = torch.zeros_like(k)
    marks[:, :, FIRST] = 1  # attention to the reference becomes the value
    share, weighed = (weigh((q, k, marks), w, 1.0)[:, HEAD] for w in (1.0, weight))
    same(weighed, weight * share / (1 - share + weight * share))


def test_halves_of_a_mask_are_the_whole_of_a_reference_that_is_given_twice(qkv):
    q, k, v = (x.clone() for x in qkv)
    k[:, :, SECOND], v[:, :, SECOND] = k[:, :, FIRST], v[:, :, FIRST]
    half = (torch.arange(PICTURE) < PICTURE // 2).float().view(1, -1, 1)
    rows = slice(TEXT, TEXT + PICTURE)
    halves = weigh((q, k, v), masked(1.0, half), masked(1.0, 1 - half))
    same(halves[:, rows], without((q, k, v), SECOND)[:, rows])
    inside = weigh(qkv, masked(0.4, half), 0.0)
    same(inside[:, TEXT : TEXT + PICTURE // 2], weigh(qkv, 0.4, 0.0)[:, TEXT : TEXT + PICTURE // 2])
    same(inside[:, TEXT + PICTURE // 2 : HEAD.stop], without(qkv, FIRST, SECOND)[:, TEXT + PICTURE // 2 : HEAD.stop])


def test_rows_of_a_batch_have_weights_of_their_own(qkv):
    weights = torch.tensor([0.25, 3.0]).view(2, 1, 1)
    both = weigh(qkv, Heard(weights, weights), 1.0)
    for row, weight in enumerate((0.25, 3.0)):
        same(both[row], weigh(qkv, weight, 1.0)[row])


def test_a_models_own_mask_counts_beside_the_weights(qkv):
    q, k, v = qkv
    mask = torch.zeros(2, 1, 1, LAYOUT.keys)
    mask[0, ..., 2], mask[1, ..., 0] = -1e4, 1.5
    same(weigh(qkv, 1.0, 1.0, mask=mask), plain(q, k, v, 2, mask))
    left = HEAD.stop
    head = plain(q, k[:, :, :left], v[:, :, :left], 2, mask[..., :left])
    for none in (0.0, through_bias(0.0)):
        same(weigh(qkv, none, none, mask=mask)[:, HEAD], head[:, HEAD])


def test_rows_of_references_may_be_missing_where_their_keys_are_cached(qkv):
    q, k, v = qkv
    cached = (q[:, :, HEAD], k, v)
    same(weigh(cached, 0.3, through_bias(2.0)), weigh(qkv, 0.3, 2.0)[:, HEAD])
    assert layout_of(LAYOUT.keys, HEAD.stop, PICTURE, LAYOUT.sizes) == LAYOUT
    refused = ((LAYOUT.keys, 20, PICTURE), (PICTURE + SIZE, PICTURE + SIZE, PICTURE))  # other rows; too few keys
    assert [layout_of(*numbers, LAYOUT.sizes) for numbers in refused] == [None, None]


def test_a_bias_is_as_small_as_its_weights_allow(qkv):
    (of_numbers,) = groups_of(LAYOUT, HEAD.stop, [Heard(0.5, 0.5), Heard(0.0, 0.0)])
    assert log_bias(LAYOUT, of_numbers, qkv[0]).shape == (1, 1, 1, HEAD.stop + SIZE)
    (of_mask,) = groups_of(LAYOUT, HEAD.stop, [through_bias(0.5), Heard(1.0, 1.0)])
    assert log_bias(LAYOUT, of_mask, qkv[0]).shape == (1, 1, HEAD.stop, LAYOUT.keys)


@pytest.mark.parametrize("backend", ["attention_basic", "attention_sub_quad", "attention_split", "attention_pytorch"])
def test_comfyuis_attentions_agree_on_the_bias(qkv, backend):
    host = pytest.importorskip("comfy.ldm.modules.attention", reason="needs ComfyUI; set COMFYUI_PATH")
    attention = getattr(host, backend)

    def biased(q, k, v, heads, bias):
        return attention(q, k, v, heads, mask=bias, skip_reshape=True)

    half = masked(0.3, (torch.arange(PICTURE) < 6).float().view(1, -1, 1))
    torch.testing.assert_close(weigh(qkv, half, 0.0, biased=biased), weigh(qkv, half, 0.0), rtol=1e-5, atol=1e-5)
