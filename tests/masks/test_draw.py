"""A picture of a mask has the mask's values."""

import numpy as np
import torch

from pack.masks.draw import FRAME, draw_masks


def test_a_mask_of_the_pictures_size_is_shown_pixel_for_pixel_in_a_frame():
    mask = torch.rand(1, 48, 64, generator=torch.Generator().manual_seed(1))
    picture = np.asarray(draw_masks(mask, longest=64))
    assert picture.shape == (52, 68, 3)
    assert (picture[2:-2, 2:-2, 0] == (mask[0] * 255).round().numpy()).all()
    assert (picture[0] == FRAME).all() and (picture[:, -1] == FRAME).all()


def test_small_and_large_masks_keep_their_shape():
    assert draw_masks(torch.ones(1, 2, 4), longest=64).size == (68, 36)
    assert draw_masks(torch.ones(1, 300, 600), longest=64).size == (68, 36)
    assert np.asarray(draw_masks(torch.ones(1, 300, 600), longest=64))[2:-2, 2:-2].min() == 255


def test_masks_of_a_batch_stand_side_by_side():
    masks = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])
    picture = np.asarray(draw_masks(masks, longest=64))[2:-2, 2:-2, 0]
    assert (picture[:, :31] == 0).all() and (picture[:, 33:] == 255).all()
