import math

import pytest
import torch
import torch.nn.functional as F

from pack.encoders.vision import (
    CLIP_MEAN,
    Features,
    black_image,
    cut_tiles,
    encode_images,
    encode_tiled,
    fit_to_square,
    hide_outside,
    merge_tiles,
)
from pack.ipadapter.cache import ContentCache
from pack.ipadapter.errors import AdapterError

SIZE, PATCH, WIDTH = 8, 2, 6  # 16 patches


class Encoder:
    """A linear vision encoder: a token per patch, a class token and pooled embeds of their mean."""

    def __init__(self, pooled=5, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.patch = torch.randn(3 * PATCH * PATCH, WIDTH, generator=generator)
        self.pool = torch.randn(WIDTH, pooled, generator=generator)
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        assert images.shape[-1] == 3
        pixels = fit_to_square(images, SIZE).movedim(-1, 1)
        patches = F.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2) @ self.patch
        hidden = torch.cat((patches.mean(1, keepdim=True), patches), dim=1)
        return Features(hidden[:, 0] @ self.pool, hidden)


def pictures(n=3, height=12, width=10, seed=0, colours=3):
    return torch.rand(n, height, width, colours, generator=torch.Generator().manual_seed(seed))


def assert_features(a, b, **slack):
    torch.testing.assert_close(a.pooled, b.pooled, **slack)
    torch.testing.assert_close(a.hidden, b.hidden, **slack)


@pytest.mark.parametrize(("chunk", "batches"), [(0, [5]), (2, [2, 2, 1]), (1, [1] * 5), (9, [5])])
def test_images_are_encoded_in_chunks(chunk, batches):
    encoder, images = Encoder(), pictures(5)
    features = encode_images(encoder, images, chunk)
    assert encoder.batches == batches
    assert_features(features, Encoder()(images))


def test_an_image_that_comes_twice_is_encoded_once():
    encoder, images = Encoder(), pictures(2)
    features = encode_images(encoder, images[[0, 1, 0, 0]])
    assert encoder.batches == [2]
    assert_features(features, Encoder()(images[[0, 1, 0, 0]]))


def test_the_same_images_are_encoded_once_whatever_tensor_holds_them():
    encoder, cache = Encoder(), ContentCache(10**6)
    first = encode_images(encoder, pictures(), cache=cache, encoder_key=1)
    again = encode_images(encoder, pictures().clone(), cache=cache, encoder_key=1)
    assert encoder.batches == [3]
    assert_features(first, again, rtol=0, atol=0)


def test_another_encoder_or_image_is_encoded_anew():
    encoder, cache = Encoder(), ContentCache(10**6)
    for key, seed in ((1, 0), (2, 0), (1, 1)):
        encode_images(encoder, pictures(seed=seed), cache=cache, encoder_key=key)
    assert encoder.batches == [3, 3, 3]


def test_a_result_does_not_depend_on_what_ran_before():
    images, cache = pictures(3), ContentCache(10**6)
    encode_images(Encoder(), images, cache=cache)
    warm = encode_images(Encoder(), images[1:2], cache=cache)
    assert_features(warm, encode_images(Encoder(), images[1:2]), rtol=0, atol=0)


def test_alpha_is_ignored():
    images = pictures(colours=4)
    assert_features(encode_images(Encoder(), images), encode_images(Encoder(), images[..., :3]), rtol=0, atol=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (9, 2), (8, 8)])
def test_images_of_every_size_are_encoded(height, width):
    features = encode_images(Encoder(), pictures(1, height, width))
    assert features.hidden.shape == (1, 17, WIDTH) and features.hidden.isfinite().all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(0, 4, 4, 3), "at least one image"),
        (torch.zeros(1, 0, 4, 3), "at least one pixel"),
        (torch.zeros(4, 4, 3), r"got \(4, 4, 3\)"),
        (torch.zeros(1, 3, 4, 4, 3), "shape"),
        (torch.zeros(1, 4, 4, 1), "3 or 4 colours"),
        (torch.full((1, 4, 4, 3), math.nan), "Image 1 of 1 holds values that are not numbers"),
        (torch.cat((torch.zeros(1, 4, 4, 3), torch.full((1, 4, 4, 3), math.inf))), "Image 2 of 2"),
    ],
)
def test_what_is_no_image_is_refused_before_encoding(images, message):
    encoder = Encoder()
    with pytest.raises(AdapterError, match=message):
        encode_images(encoder, images)
    assert encoder.batches == []


def test_what_is_not_a_number_in_alpha_does_not_matter():
    images = pictures(1, colours=4)
    images[..., 3] = math.nan
    assert encode_images(Encoder(), images).pooled.isfinite().all()


def test_input_is_left_alone():
    images = pictures(2, colours=4)
    before = images.clone()
    encode_images(Encoder(), images)
    hide_outside(images, torch.zeros(12, 10), SIZE)
    encode_tiled(Encoder(), images, 2, 0.5)
    assert torch.equal(images, before)


def test_black_image_is_black():
    assert torch.equal(black_image(3), torch.zeros(1, 3, 3, 3))


def test_crop_keeps_the_middle_of_the_long_side():
    image = torch.zeros(1, 4, 8, 3)
    image[:, :, 2:6] = 1
    assert torch.equal(fit_to_square(image, 4), torch.ones(1, 4, 4, 3))


def normalised(images):
    return (images - torch.tensor(CLIP_MEAN)) / 0.27


def test_mask_multiplies_what_the_encoder_sees():
    images, mask = pictures(2, SIZE, SIZE), torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    hidden = hide_outside(images, mask, SIZE)
    rounded = (images * 255).round() / 255
    torch.testing.assert_close(normalised(hidden), normalised(rounded) * mask[None, ..., None], rtol=1e-5, atol=1e-6)


def test_a_full_mask_changes_nothing_but_the_rounding_that_encoders_do():
    images = pictures(2, SIZE, SIZE)
    hidden = hide_outside(images, torch.ones(SIZE, SIZE), SIZE)
    assert torch.equal(hidden, (images * 255).round() / 255)


@pytest.mark.parametrize("masks", [1, 2, 3])
def test_masks_in_batches_belong_to_their_images(masks):
    images = pictures(masks, SIZE, SIZE)
    batch = torch.rand(masks, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    together = hide_outside(images, batch, SIZE)
    for i in range(masks):
        assert torch.equal(together[i : i + 1], hide_outside(images[i : i + 1], batch[i], SIZE))


@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 0, 4), (1, 1, 4, 4)])
def test_masks_that_fit_no_image_are_refused(shape):
    with pytest.raises(AdapterError, match="one for each of the 3 images"):
        hide_outside(pictures(3), torch.zeros(shape), SIZE)


def test_a_mask_that_is_not_a_number_is_refused():
    with pytest.raises(AdapterError, match="mask holds values"):
        hide_outside(pictures(1), torch.full((4, 4), math.nan), SIZE)


def test_tiles_are_cut_row_by_row_without_the_rest():
    image = torch.arange(5 * 7).view(1, 5, 7, 1).expand(-1, -1, -1, 3).float()
    tiles = cut_tiles(image, 2)
    assert tiles.shape == (4, 2, 3, 3)
    assert tiles[1, :, :, 0].tolist() == [[3, 4, 5], [10, 11, 12]]
    assert tiles[2, :, :, 0].tolist() == [[14, 15, 16], [21, 22, 23]]


def test_tiles_of_several_images_stay_together():
    images = pictures(3)
    assert torch.equal(cut_tiles(images, 2)[4:8], cut_tiles(images[1:2], 2))


def test_an_image_too_small_for_its_tiles_is_refused():
    with pytest.raises(AdapterError, match="1x1 pixels cannot be cut into 2x2"):
        encode_tiled(Encoder(), pictures(1, 1, 1), 2, 0.5)


def test_merged_tokens_are_the_tiles_side_by_side():
    """Four tiles of 4x4 tokens make a picture of 8x8, each 2x2 of which is one token again."""
    picture = torch.arange(64.0).view(8, 8)
    tiles = picture.view(2, 4, 2, 4).transpose(1, 2).reshape(4, 16, 1)
    hidden = torch.cat((torch.tensor([1.0, 2, 3, 6]).view(4, 1, 1), tiles), dim=1)
    merged = merge_tiles(Features(torch.zeros(4, 5), hidden), 2)
    assert merged.hidden[0, 0, 0] == 3
    expected = F.avg_pool2d(picture[None, None], 2).flatten()
    assert torch.equal(merged.hidden[0, 1:, 0], expected)


@pytest.mark.parametrize("width", [1280, 768])
def test_pooled_embeds_of_any_width_are_averaged(width):
    pooled = torch.randn(4, width, generator=torch.Generator().manual_seed(0))
    assert torch.equal(merge_tiles(Features(pooled, torch.zeros(4, 17, 2)), 2).pooled, pooled.mean(0, keepdim=True))


def test_pooled_embeds_of_a_square_width_are_shrunk_like_a_picture():
    pooled = torch.arange(4 * 16.0).view(4, 16)
    merged = merge_tiles(Features(pooled, torch.zeros(4, 17, 2)), 2).pooled.view(4, 4)
    assert torch.equal(merged[:2, :2], F.avg_pool2d(pooled[0].view(1, 1, 4, 4), 2)[0, 0])
    assert torch.equal(merged[2:, :2], F.avg_pool2d(pooled[2].view(1, 1, 4, 4), 2)[0, 0])


def test_a_single_image_and_its_tiles_become_two_references():
    image = pictures(1)
    mixed = encode_tiled(Encoder(), image, 2, 0.25)
    whole, parts = Encoder()(image), merge_tiles(Encoder()(cut_tiles(image, 2)), 2)
    assert_features(
        mixed, Features(*(torch.cat((w * 0.25, p)) for w, p in zip(*map(tuple_of, (whole, parts)), strict=True)))
    )


def test_several_images_are_mixed_with_their_tiles():
    images = pictures(3)
    mixed = encode_tiled(Encoder(), images, 3, 0.25)
    whole, parts = Encoder()(images), merge_tiles(Encoder()(cut_tiles(images, 3)), 3)
    assert_features(
        mixed, Features(*(w * 0.25 + p * 0.75 for w, p in zip(*map(tuple_of, (whole, parts)), strict=True)))
    )


def test_one_tile_is_the_whole_image():
    assert_features(encode_tiled(Encoder(), pictures(), 1, 0.5), Encoder()(pictures()), rtol=0, atol=0)


def tuple_of(features):
    return features.pooled, features.hidden
