"""Solid masks and combined masks equal those of ComfyUI's own SolidMask and MaskComposite."""

import pytest
import torch

from pack.ipadapter.errors import AdapterError
from pack.masks.compose import OPERATIONS, canvas_size, composite_masks, share, solid_mask

host = pytest.importorskip("comfy_extras.nodes_mask", reason="compares with ComfyUI's own nodes")
POSITIONS = [(0, 0), (3, 2), (5, 0), (7, 6), (6, 7), (40, 40)]


def random_mask(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("x", "y"), POSITIONS)
def test_every_operation_at_every_position_equals_comfyui(operation, x, y):
    destination, source = random_mask(1, 7, 8), random_mask(1, 4, 3)
    expected = host.MaskComposite.execute(destination, source, x, y, operation).args[0]
    torch.testing.assert_close(composite_masks(destination, source, x, y, operation), expected, rtol=0, atol=0)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_batch_below_and_one_mask_above_equal_comfyui(operation):
    destination, source = random_mask(3, 5, 6), random_mask(4, 9)
    expected = host.MaskComposite.execute(destination, source, 1, 2, operation).args[0]
    torch.testing.assert_close(composite_masks(destination, source, 1, 2, operation), expected, rtol=0, atol=0)


def test_half_grey_counts_as_comfyui_counts_it():
    grey, white = solid_mask(0.5, 2, 2), solid_mask(1.0, 2, 2)
    for operation in ("and", "or", "xor"):
        expected = host.MaskComposite.execute(grey, white, 0, 0, operation).args[0]
        assert composite_masks(grey, white, 0, 0, operation).equal(expected)


def test_the_list_of_operations_equals_comfyuis():
    combo = next(item for item in host.MaskComposite.define_schema().inputs if item.id == "operation")
    assert list(OPERATIONS) == combo.options


def test_a_solid_mask_equals_comfyuis():
    expected = host.SolidMask.execute(0.3, 5, 4).args[0]
    torch.testing.assert_close(solid_mask(0.3, 4, 5), expected, rtol=0, atol=0)


def test_the_masks_that_come_in_are_unchanged():
    destination, source = random_mask(1, 4, 4), random_mask(1, 2, 2)
    before = destination.clone(), source.clone()
    composite_masks(destination, source, 1, 1, "add")
    assert destination.equal(before[0]) and source.equal(before[1])


def test_one_mask_below_serves_a_batch_above():
    combined = composite_masks(solid_mask(0.0, 2, 2), random_mask(3, 2, 2), 0, 0, "add")
    assert combined.equal(random_mask(3, 2, 2))


def test_batches_of_different_sizes_are_refused_with_both_sizes():
    with pytest.raises(ValueError, match="destination holds 2 masks and the source 3"):
        composite_masks(random_mask(2, 2, 2), random_mask(3, 2, 2), 0, 0, "add")


@pytest.mark.parametrize(
    ("canvas", "size"),
    [
        ({"samples": torch.zeros(1, 4, 7, 9)}, (56, 72)),
        ({"samples": torch.zeros(1, 16, 5, 7, 9)}, (56, 72)),
        ({"samples": torch.zeros(1, 4, 7, 9), "downscale_ratio_spacial": 16}, (112, 144)),
        (torch.zeros(2, 30, 40, 3), (30, 40)),
        (torch.zeros(2, 30, 40), (30, 40)),
        (torch.zeros(30, 40), (30, 40)),
    ],
)
def test_a_canvas_has_the_size_in_pixels(canvas, size):
    assert canvas_size(canvas) == size


@pytest.mark.parametrize("canvas", [{}, {"samples": None}, [torch.zeros(1, 8, 8)], torch.zeros(1, 0, 8), "512 x 512"])
def test_a_canvas_without_a_size_is_refused(canvas):
    with pytest.raises(AdapterError, match="canvas needs a latent, an image or a mask"):
        canvas_size(canvas)


@pytest.mark.parametrize("width", [64, 65, 512, 1001])
def test_two_halves_cover_any_width(width):
    half = solid_mask(1.0, 1, share(0.5, width))
    left = composite_masks(solid_mask(0.0, 1, width), half, 0, 0, "add")
    both = composite_masks(left, half, share(0.5, width), 0, "add")
    assert both.equal(solid_mask(1.0, 1, width))
