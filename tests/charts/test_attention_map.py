"""Attention maps: shares of the image, their mean over layers and sampling, frame by frame."""

from dataclasses import replace

import pytest
import torch

from pack.charts.attention_map import Seen, attention_map, image_share


def test_the_share_is_the_image_s_part_of_both_norms():
    text = torch.tensor([[[3.0, 4.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]])
    image = torch.tensor([[[0.0, 5.0], [3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    assert image_share(text, image, (2, 2)).tolist() == [[[0.5, 0.75], [1.0, 0.0]]]


def seen(percent, layer, frames, value):
    share = torch.full((len(frames), 2, 2), value)
    share[:, 0, 0] = 0.0
    return Seen(percent, layer, frames, share)


def test_a_map_is_the_mean_over_its_layers_and_range():
    record = [seen(0.1, 3, (0,), 0.2), seen(0.5, 3, (0,), 0.6), seen(0.5, 6, (0,), 0.4), seen(0.9, 3, (0,), 1.0)]
    share = attention_map(record, {3, 6}, 0.0, 0.5, (2, 2), "share")
    torch.testing.assert_close(share, torch.tensor([[[0.0, 0.4], [0.4, 0.4]]]))  # mean of 0.2, 0.6, 0.4
    stretched = attention_map(record, {3}, 0.0, 1.0, (8, 8), "stretched")
    assert stretched.shape == (1, 8, 8) and stretched.min() == 0 and stretched.max() == 1


def test_frames_of_context_windows_keep_their_numbers():
    record = [seen(0.1, 0, (0, 1), 0.2), seen(0.1, 0, (1, 2), 0.6)]
    maps = attention_map(record, {0}, 0.0, 1.0, (2, 2), "share")
    assert maps[:, 1, 1].tolist() == pytest.approx([0.2, 0.4, 0.6])


def test_where_no_reference_acted_the_map_is_black():
    assert not attention_map([seen(0.1, 0, (0,), 0.2)], {0}, 0.5, 1.0, (2, 2), "share").any()
    assert attention_map([], {0}, 0.5, 1.0, (3, 5), "stretched").tolist() == torch.zeros(1, 3, 5).tolist()


def test_a_recorder_without_a_recording_says_what_to_do():
    with pytest.raises(ValueError, match="holds no recording.* change the sampler's seed"):
        attention_map(None, {0}, 0.5, 1.0, (2, 2), "share")


def test_a_map_is_that_of_one_reference_or_of_all_together():
    record = [replace(seen(0.1, 0, (0,), share), reference=number) for number, share in enumerate((0.9, 0.2, 0.7))]
    shares = [attention_map(record, {0}, 0.0, 1.0, (2, 2), "share", number)[0, 1, 1].item() for number in range(3)]
    assert shares == pytest.approx([0.9, 0.2, 0.7])
    with pytest.raises(ValueError, match="has no reference 3: it has 2 of the model's own"):
        attention_map(record, {0}, 0.0, 1.0, (2, 2), "share", 3)
