"""Masks at the tokens of a level."""

import pytest
import torch

from pack.masks.grid import mask_around, mask_on_grid


def left_half(height, width):
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


@pytest.mark.parametrize("grid", [(4, 4), (2, 6), (8, 8)])
def test_half_a_mask_is_half_of_every_grid(grid):
    rows, columns = grid
    tokens = mask_on_grid(left_half(64, 96), grid)
    assert tokens.shape == (1, rows * columns, 1)
    assert torch.equal(tokens.view(rows, columns), left_half(rows, columns)[0])


def test_grey_stays_grey_and_every_mask_of_a_batch_stays_apart():
    masks = torch.stack([torch.full((5, 7), value) for value in (0.25, 0.75)])
    tokens = mask_on_grid(masks, (3, 3))
    expected = torch.tensor([0.25, 0.75]).view(2, 1, 1).expand(2, 9, 1)
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-6)  # bilinear shares add up to 1 but for rounding


def test_an_area_sees_its_own_part_of_the_canvas():
    """A model call that covers only the right half of the canvas uses only the right half of the mask."""
    canvas = (8, 16)
    right = (8, 8, 0, 8)  # height, width, top, left
    left = (8, 8, 0, 0)
    mask = left_half(64, 128)
    assert torch.equal(mask_on_grid(mask, (4, 4), right, canvas), torch.zeros(1, 16, 1))
    assert torch.equal(mask_on_grid(mask, (4, 4), left, canvas), torch.ones(1, 16, 1))


def test_an_area_at_the_very_edge_still_has_a_row_of_its_own():
    mask = torch.zeros(1, 4, 4)
    mask[:, -1] = 1
    assert torch.equal(mask_on_grid(mask, (2, 2), (1, 64, 63, 0), (64, 64)), torch.ones(1, 4, 1))


def test_a_mask_of_the_grid_s_own_size_is_taken_as_it_is():
    mask = torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(mask_on_grid(mask, (4, 5)), mask.view(1, 20, 1))


def test_text_gets_the_share_that_the_mask_covers_and_reference_latents_get_none():
    quarter = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 4, 1)
    masks = torch.cat([quarter, torch.ones(1, 4, 1), torch.zeros(1, 4, 1)])
    around = mask_around(masks, before=2, behind=1)
    assert around[:, :, 0].tolist() == [
        [0.25, 0.25, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert mask_around(masks, 0, 0).equal(masks)
