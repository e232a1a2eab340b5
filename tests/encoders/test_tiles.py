"""References cut into tiles: how many, where, and what their masks cover."""

import pytest
import torch

from pack.encoders.tiles import Tile, cut_legacy, cut_reference, legacy_starts, starts
from pack.ipadapter.errors import AdapterError


def picture(height: int, width: int, images: int = 1) -> torch.Tensor:
    return torch.rand((images, height, width, 3), generator=torch.Generator().manual_seed(height))


def coverage(tiles: list[Tile]) -> torch.Tensor:
    return torch.stack([tile.mask for tile in tiles]).sum(0)


@pytest.mark.parametrize(
    ("height", "width", "count", "size"),
    [
        (600, 640, 4, (512, 512)),
        (500, 1000, 2, (256, 512)),
        (300, 1600, 4, (256, 1024)),
        (1600, 300, 4, (1024, 256)),
        (700, 1000, 2, (256, 365)),
        (600, 900, 2, (256, 384)),
        (900, 600, 2, (384, 256)),
    ],
)
def test_pictures_of_many_shapes_give_the_documented_tiles(height, width, count, size):
    tiles = cut_reference(picture(height, width))
    assert len(tiles) == count
    assert all(tile.images.shape == (1, 256, 256, 3) and tile.mask.shape == (1, *size) for tile in tiles)


def test_masks_cover_everything_and_overlaps_twice():
    covered = coverage(cut_reference(picture(600, 900)))
    assert covered[0, 0, :128].eq(1).all() and covered[0, 0, 256:].eq(1).all()
    assert covered[0, 0, 128:256].eq(2).all()


def test_tiles_together_are_the_resized_picture():
    tiles = cut_reference(picture(512, 512))
    assert torch.cat(
        [torch.cat([tiles[0].images, tiles[1].images], 2), torch.cat([tiles[2].images, tiles[3].images], 2)], 1
    ).equal(picture(512, 512))


def test_a_mask_is_cropped_with_its_picture_and_cut_with_its_tiles():
    mask = torch.zeros(1, 512, 640)
    mask[:, :, 320:] = 1.0
    tiles = cut_reference(picture(512, 640), mask)
    assert [tile.mask.mean().item() for tile in tiles] == [0.0, 0.25, 0.0, 0.25]


def test_a_mask_of_another_size_is_stretched_over_the_picture():
    tiles = cut_reference(picture(512, 512), torch.full((64, 64), 0.5))
    torch.testing.assert_close(coverage(tiles), torch.full((1, 512, 512), 0.5))  # bicubic weights sum to one, roughly


def test_batches_are_cut_alike_and_sharpened_on_request():
    plain, sharp = cut_reference(picture(512, 512, 3)), cut_reference(picture(512, 512, 3), sharpening=0.5)
    assert plain[0].images.shape == sharp[0].images.shape == (3, 256, 256, 3)
    assert not plain[0].images.equal(sharp[0].images)


@pytest.mark.parametrize(
    ("length", "places"), [(256, [0]), (512, [0, 256]), (365, [0, 109]), (1000, [0, 248, 496, 744])]
)
def test_tiles_share_a_length_evenly(length, places):
    assert starts(length) == places


@pytest.mark.parametrize(
    ("length", "places"),
    [(224, [0]), (448, [0, 224]), (270, [23]), (280, [0, 56]), (500, [26, 250]), (520, [0, 224, 296])],
)
def test_legacy_tiles_leave_small_rests_at_the_ends_and_cover_large_ones(length, places):
    assert legacy_starts(length) == places


def test_a_single_row_of_legacy_tiles_has_full_weight():
    tiles = cut_legacy(picture(100, 200), 1, 0.6)
    assert len(tiles) == 2
    assert all(tile.images.shape == (1, 224, 224, 3) and tile.mask.max() == 1.0 for tile in tiles)
    assert coverage(tiles).eq(1).all()


def test_several_rows_of_legacy_tiles_follow_a_coarse_pass():
    tiles = cut_legacy(picture(100, 200, 3), 2, 0.6)
    assert len(tiles) == 2 + 2 * 4
    assert [round(tile.mask.max().item(), 3) for tile in tiles] == [1.0] * 2 + [0.6] * 8
    assert tiles[0].mask.shape == (1, 224, 448) and tiles[-1].mask.shape == (1, 448, 896)


def test_no_tiles_at_all_are_refused():
    with pytest.raises(AdapterError, match="at least one tile"):
        cut_legacy(picture(10, 10), 0, 0.6)
