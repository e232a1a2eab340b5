"""Cropping, padding, resizing and sharpening of reference pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from pack.encoders.pictures import (
    FILTERS,
    center_crop,
    crop_to_square,
    pad_to_square,
    prepare_for_encoder,
    resize,
    resize_smoothly,
    sharpen,
)


def numbered(height: int, width: int) -> torch.Tensor:
    """A picture whose red is the row and whose green is the column of each pixel."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((rows, columns, rows * 0), -1)[None].float()


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("position", "wide", "tall"),
    [("top", (0, 3), (0, 0)), ("bottom", (0, 3), (7, 0)), ("left", (0, 0), (3, 0)), ("right", (0, 7), (3, 0))]
    + [("center", (0, 3), (3, 0))],
)
def test_squares_are_cut_where_asked(position, wide, tall):
    for (height, width), corner in (((4, 11), wide), ((11, 4), tall)):
        square = crop_to_square(numbered(height, width), position)
        assert square.shape == (1, 4, 4, 3)
        assert tuple(square[0, 0, 0, :2].int().tolist()) == corner


@pytest.mark.parametrize(("height", "width"), [(4, 7), (7, 4), (5, 5), (1, 6)])
def test_padding_is_exactly_square_and_keeps_every_pixel(height, width):
    padded = pad_to_square(noise(2, height, width, 3))
    side = max(height, width)
    assert padded.shape == (2, side, side, 3)
    y, x = (side - height) // 2, (side - width) // 2
    assert padded[:, y : y + height, x : x + width].equal(noise(2, height, width, 3))
    assert padded.count_nonzero() == noise(2, height, width, 3).count_nonzero()


@pytest.mark.parametrize("filter", FILTERS)
def test_resizing_is_pillows_without_its_rounding_to_bytes(filter):
    # Of middle tones: before release 13, Pillow cuts what overshoots 0..255 between its two passes, and ours does not.
    picture = (noise(1, 30, 20, 3) * 100 + 80).round() / 255
    resized = resize(picture, 12, 16, filter)
    bytes_in = Image.fromarray((picture[0].numpy() * 255).round().astype(np.uint8))
    expected = np.asarray(bytes_in.resize((16, 12), FILTERS[filter])) / 255
    # Pillow rounds bytes after each of its two passes: half a step each, the first a little more by overshooting.
    np.testing.assert_allclose(resized[0].numpy(), expected, atol=1.3 / 255)


def test_resizing_keeps_alpha_and_stays_within_range():
    resized = resize((noise(1, 8, 8, 4) > 0.5).float(), 29, 31)
    assert resized.shape == (1, 29, 31, 4) and resized.min() == 0 and resized.max() == 1


def test_masks_are_resized_like_pictures():
    picture = noise(2, 9, 7, 1)
    assert resize_smoothly(picture[..., 0], 5, 6).equal(resize_smoothly(picture, 5, 6)[..., 0])


def test_smooth_resizing_and_middle_crops_equal_torchvision():
    torchvision = pytest.importorskip("torchvision.transforms.functional", reason="judge of the same formulas")
    picture = noise(1, 37, 50, 3)
    planes = torchvision.resize(picture.movedim(-1, 1), [20, 24], torchvision.InterpolationMode.BICUBIC, antialias=True)
    assert resize_smoothly(picture, 20, 24).equal(planes.movedim(1, -1))
    for side in (34, 35, 36):
        expected = torchvision.center_crop(picture.movedim(-1, 1), [side, side]).movedim(1, -1)
        assert center_crop(picture, side, side).equal(expected)


def sharpened_pixel(window: np.ndarray, amount: float) -> float:
    """The formula for one pixel, written out with its nine neighbours."""
    a, b, c, d, e, f, g, h, i = window.flatten()
    lowest = max(0, min(b, d, e, f, h)) + max(0, min(a, c, g, i))
    highest = min(1, max(b, d, e, f, h)) + min(1, max(a, c, g, i))
    if highest == 0:
        return 0.0
    k = -np.sqrt(min(lowest, 2 - highest) / highest) * (1 / 8 + amount * (1 / 5 - 1 / 8))
    return float(np.clip(((b + d + f + h) * k + e) / (1 + 4 * k), 0, 1))


@pytest.mark.parametrize("amount", [0.05, 0.5, 1.0])
def test_sharpening_follows_its_formula_pixel_by_pixel(amount):
    picture = noise(1, 5, 6, 3)
    picture[0, :3, :3, 1] = 0  # a black patch: nothing to divide by
    framed = np.pad(picture[0].double().numpy(), ((1, 1), (1, 1), (0, 0)))
    expected = [
        [[sharpened_pixel(framed[y : y + 3, x : x + 3, c], amount) for c in range(3)] for x in range(6)]
        for y in range(5)
    ]
    # The formula is computed here in double precision.
    torch.testing.assert_close(sharpen(picture, amount)[0], torch.tensor(expected).float(), atol=2e-6, rtol=0)


def test_a_prepared_picture_has_the_encoders_size():
    assert prepare_for_encoder(noise(2, 50, 41, 3), 336, "LANCZOS", "pad").shape == (2, 336, 336, 3)
    assert prepare_for_encoder(noise(1, 50, 41, 3), 224, "BOX", "top", 0.5).shape == (1, 224, 224, 3)


def test_a_one_pixel_picture_can_be_prepared():
    assert prepare_for_encoder(torch.full((1, 1, 1, 3), 0.25), 8, "NEAREST", "center").eq(0.25).all()
