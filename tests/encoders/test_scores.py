"""Scores of pairs that can be checked by hand."""

import math

import pytest
import torch

from pack.encoders.scores import Score, knee, mean_score, score, table
from pack.ipadapter.errors import EncoderMismatchError


def test_scores_are_cosines_whatever_the_lengths():
    pictures = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    references, prompt = torch.tensor([[5.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 7.0]])
    first, second = score(pictures, references, prompt)
    half = math.sqrt(0.5)
    assert (first.clip_i, first.clip_t) == (0.5, 0.0)  # one reference is the same, the other has nothing in common
    assert second.clip_i == pytest.approx(half) and second.clip_t == pytest.approx(half)
    assert score(pictures, references)[0].clip_t is None and score(pictures, None, prompt)[0].clip_i is None


def test_means_and_tables_leave_out_what_was_not_measured():
    scores = [Score(0.5, None), Score(0.25, None)]
    assert mean_score(scores) == Score(0.375, None)
    assert table([{"picture": 1}, {"picture": 2}], scores) == "picture,CLIP-I,CLIP-T\n1,0.5000,\n2,0.2500,\n"


def test_what_is_no_pooled_embeds_is_refused():
    with pytest.raises(EncoderMismatchError, match=r"\(1, 729, 8\).*OpenCLIP Loader"):
        score(torch.zeros(1, 729, 8), torch.zeros(1, 8))
    with pytest.raises(EncoderMismatchError, match="8 wide and the text's 4"):
        score(torch.zeros(1, 8), None, torch.zeros(1, 4))


def test_the_knee_is_where_more_of_one_begins_to_cost_more_of_the_other():
    #   weight                 0            1            2            3            4
    bent = [Score(*pair) for pair in ((0.1, 0.30), (0.3, 0.29), (0.5, 0.28), (0.55, 0.20), (0.6, 0.10))]
    assert knee(bent) == 2
    assert knee(bent[::-1]) == 2
    scaled = [Score(10 * s.clip_i, s.clip_t) for s in bent if s.clip_i]
    assert knee(scaled) == 2  # units do not matter


def test_a_straight_line_a_hollow_curve_and_a_flat_one_have_no_knee():
    straight = [Score(0.1 * n, 1 - 0.1 * n) for n in range(5)]
    hollow = [Score(*pair) for pair in ((0.0, 1.0), (0.1, 0.1), (1.0, 0.0))]
    flat = [Score(0.5, 0.1 * n) for n in range(5)]
    assert knee(straight) is knee(hollow) is knee(flat) is knee(straight[:2]) is None
