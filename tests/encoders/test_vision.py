import math

import pytest
import torch
import torch.nn.functional as F

from pack.encoders.encoder import Features, VisionEncoder, black_image, crop, hide_outside, stretch
from pack.encoders.vision import cut_tiles, encode_images, encode_tiled, merge_tiles
from pack.ipadapter.cache import ContentCache
from pack.ipadapter.errors import AdapterError

SIZE, PATCH, WIDTH = 8, 2, 6  # 16 patches


class Linear:
    """A linear vision network: a token per patch, a class token if it has one, and pooled embeds of their mean."""

    def __init__(self, pooled=5, class_token=True):
        generator = torch.Generator().manual_seed(0)
        self.patch = torch.randn(3 * PATCH * PATCH, WIDTH, generator=generator)
        self.pool = torch.randn(WIDTH, pooled, generator=generator)
        self.class_token = class_token
        self.batches = []

    def __call__(self, images):
        self.batches.append(len(images))
        assert images.shape[-1] == 3
        patches = F.unfold(crop(images, SIZE).movedim(-1, 1), PATCH, stride=PATCH).transpose(1, 2) @ self.patch
        whole = patches.mean(1, keepdim=True)
        return Features(whole[:, 0] @ self.pool, torch.cat((whole, patches), dim=1) if self.class_token else patches)


MEAN = (0.48, 0.46, 0.41)


def encoder_of(network, mean=MEAN, fit=crop, key=None):
    return VisionEncoder(SIZE, mean, fit, network, key)


def pictures(n=3, height=12, width=10, seed=0, colours=3):
    return torch.rand(n, height, width, colours, generator=torch.Generator().manual_seed(seed))


def assert_features(a, b, **slack):
    torch.testing.assert_close(a.pooled, b.pooled, **slack)
    torch.testing.assert_close(a.hidden, b.hidden, **slack)


@pytest.mark.parametrize(("chunk", "batches"), [(0, [5]), (2, [2, 2, 1]), (1, [1] * 5), (9, [5])])
def test_images_are_encoded_in_chunks(chunk, batches):
    encoder, images = Linear(), pictures(5)
    features = encode_images(encoder_of(encoder), images, chunk)
    assert encoder.batches == batches
    assert_features(features, Linear()(images))


def test_an_image_that_comes_twice_is_encoded_once():
    encoder, images = Linear(), pictures(2)
    features = encode_images(encoder_of(encoder), images[[0, 1, 0, 0]])
    assert encoder.batches == [2]
    assert_features(features, Linear()(images[[0, 1, 0, 0]]))


def test_the_same_images_are_encoded_once_whatever_tensor_holds_them():
    encoder, cache = Linear(), ContentCache(10**6)
    first = encode_images(encoder_of(encoder, key=1), pictures(), cache=cache)
    again = encode_images(encoder_of(encoder, key=1), pictures().clone(), cache=cache)
    assert encoder.batches == [3]
    assert_features(first, again, rtol=0, atol=0)


def test_another_encoder_or_image_is_encoded_anew():
    encoder, cache = Linear(), ContentCache(10**6)
    for key, seed in ((1, 0), (2, 0), (1, 1)):
        encode_images(encoder_of(encoder, key=key), pictures(seed=seed), cache=cache)
    assert encoder.batches == [3, 3, 3]


def test_a_result_does_not_depend_on_what_ran_before():
    images, cache = pictures(3), ContentCache(10**6)
    encode_images(encoder_of(Linear()), images, cache=cache)
    warm = encode_images(encoder_of(Linear()), images[1:2], cache=cache)
    assert_features(warm, encode_images(encoder_of(Linear()), images[1:2]), rtol=0, atol=0)


def test_alpha_is_ignored():
    images = pictures(colours=4)
    found, expected = (encode_images(encoder_of(Linear()), x) for x in (images, images[..., :3]))
    assert_features(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (9, 2), (8, 8)])
def test_images_of_every_size_are_encoded(height, width):
    features = encode_images(encoder_of(Linear()), pictures(1, height, width))
    assert features.hidden.shape == (1, 17, WIDTH) and features.hidden.isfinite().all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(0, 4, 4, 3), "at least one image"),
        (torch.zeros(1, 0, 4, 3), "at least one pixel"),
        (torch.zeros(4, 4, 3), r"got \(4, 4, 3\)"),
        (torch.zeros(1, 3, 4, 4, 3), "shape"),
        (torch.zeros(1, 4, 4, 2), "1, 3 or 4 colours"),
        (torch.full((1, 4, 4, 3), math.nan), "Image 1 of 1 holds values that are not numbers"),
        (torch.cat((torch.zeros(1, 4, 4, 3), torch.full((1, 4, 4, 3), math.inf))), "Image 2 of 2"),
    ],
)
def test_what_is_no_image_is_refused_before_encoding(images, message):
    encoder = Linear()
    with pytest.raises(AdapterError, match=message):
        encode_images(encoder_of(encoder), images)
    assert encoder.batches == []


def test_what_is_not_a_number_in_alpha_does_not_matter():
    images = pictures(1, colours=4)
    images[..., 3] = math.nan
    assert encode_images(encoder_of(Linear()), images).pooled.isfinite().all()


def test_input_is_left_alone():
    images = pictures(2, colours=4)
    before = images.clone()
    encode_images(encoder_of(Linear()), images)
    hide_outside(images, torch.zeros(12, 10), encoder_of(Linear()))
    encode_tiled(hidden_of(Linear()), images, 2, 0.5)
    assert torch.equal(images, before)


def test_black_image_is_black():
    assert torch.equal(black_image(3), torch.zeros(1, 3, 3, 3))


def test_crop_keeps_the_middle_of_the_long_side_and_stretch_keeps_all():
    image = torch.zeros(1, 4, 8, 3)
    image[:, :, 2:6] = 1
    assert torch.equal(crop(image, 4), torch.ones(1, 4, 4, 3))
    assert stretch(image, 4)[0, 0, :, 0].tolist() == pytest.approx([0, 1, 1, 0], abs=0.1)  # bicubic overshoots


def test_a_grey_picture_is_one_of_three_equal_channels():
    grey = pictures(2, colours=1)
    found, expected = (encode_images(encoder_of(Linear()), x) for x in (grey, grey.repeat(1, 1, 1, 3)))
    assert_features(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("fit", [crop, stretch])
@pytest.mark.parametrize("mean", [MEAN, (0.5, 0.5, 0.5)])
def test_a_mask_multiplies_what_the_encoder_sees(mean, fit):
    """Its normalised input, that is; picture and mask are fitted in the same way."""
    images, mask = pictures(2, 6, 20), torch.rand(6, 20, generator=torch.Generator().manual_seed(1))
    hidden = hide_outside(images, mask, encoder_of(Linear(), mean, fit))
    rounded = (fit(images, SIZE).clamp(0, 1) * 255).round() / 255
    expected = (rounded - torch.tensor(mean)) * fit(mask[None, ..., None], SIZE)
    torch.testing.assert_close(hidden - torch.tensor(mean), expected, rtol=1e-5, atol=1e-6)  # subtracted once more


def test_masks_in_batches_belong_to_their_images():
    encoder = encoder_of(Linear())
    for count in (1, 2, 3):
        images = pictures(count, SIZE, SIZE)
        batch = torch.rand(count, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
        together = hide_outside(images, batch, encoder)
        assert torch.equal(together, hide_outside(images, batch.unsqueeze(1), encoder)), "(m, 1, h, w) is (m, h, w)"
        for i in range(count):
            assert torch.equal(together[i : i + 1], hide_outside(images[i : i + 1], batch[i], encoder))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 4, 4), "one for each of the 3 images"),
        *(((*count, 4, 4), r"a mask of shape \(masks, height, width\)") for count in ((1, 2), (0,))),
    ],
)
def test_masks_that_fit_no_image_are_refused(shape, message):
    with pytest.raises(AdapterError, match=message):
        hide_outside(pictures(3), torch.zeros(shape), encoder_of(Linear()))


def test_a_mask_that_is_not_a_number_is_refused():
    with pytest.raises(AdapterError, match="mask holds values"):
        hide_outside(pictures(1), torch.full((4, 4), math.nan), encoder_of(Linear()))


def test_tiles_are_cut_row_by_row_without_the_rest():
    image = torch.arange(5 * 7).view(1, 5, 7, 1).expand(-1, -1, -1, 3).float()
    tiles = cut_tiles(image, 2)
    assert tiles.shape == (4, 2, 3, 3)
    assert tiles[1, :, :, 0].tolist() == [[3, 4, 5], [10, 11, 12]]
    assert tiles[2, :, :, 0].tolist() == [[14, 15, 16], [21, 22, 23]]


def test_tiles_of_several_images_stay_together():
    images = pictures(3)
    assert torch.equal(cut_tiles(images, 2)[4:8], cut_tiles(images[1:2], 2))


def pooled_of(network):
    return lambda images: encode_images(encoder_of(network), images).pooled


def hidden_of(network):
    return lambda images: encode_images(encoder_of(network), images).hidden


def test_an_image_too_small_for_its_tiles_is_refused():
    with pytest.raises(AdapterError, match="1x1 pixels cannot be cut into 2x2"):
        encode_tiled(pooled_of(Linear()), pictures(1, 1, 1), 2, 0.5)


@pytest.mark.parametrize("leading", [0, 1, 5])  # SigLIP, CLIP, DINOv2 with four registers
def test_merged_tokens_are_the_tiles_side_by_side(leading):
    """Four tiles of 4x4 tokens make a picture of 8x8, each 2x2 of which is one token again."""
    picture = torch.arange(64.0).view(8, 8)
    tiles = picture.view(2, 4, 2, 4).transpose(1, 2).reshape(4, 16, 1)
    of_the_whole = torch.tensor([1.0, 2, 3, 6]).view(4, 1, 1).expand(4, leading, 1)
    merged = merge_tiles(torch.cat((of_the_whole, tiles), dim=1), 2)
    expected = F.avg_pool2d(picture[None, None], 2).flatten().tolist()
    assert merged.flatten().tolist() == [3.0] * leading + expected


@pytest.mark.parametrize("width", [1280, 768])
def test_pooled_embeds_of_any_width_are_averaged(width):
    pooled = torch.randn(4, width, generator=torch.Generator().manual_seed(0))
    assert torch.equal(merge_tiles(pooled, 2), pooled.mean(0, keepdim=True))


def test_pooled_embeds_of_a_square_width_are_shrunk_like_a_picture():
    pooled = torch.arange(4 * 16.0).view(4, 16)
    merged = merge_tiles(pooled, 2).view(4, 4)
    assert torch.equal(merged[:2, :2], F.avg_pool2d(pooled[0].view(1, 1, 4, 4), 2)[0, 0])
    assert torch.equal(merged[2:, :2], F.avg_pool2d(pooled[2].view(1, 1, 4, 4), 2)[0, 0])


@pytest.mark.parametrize("network", [Linear(), Linear(class_token=False)], ids=["class token", "no class token"])
@pytest.mark.parametrize("kind", [pooled_of, hidden_of])
def test_a_picture_is_mixed_with_its_tiles_and_a_single_one_gives_two_references(network, kind):
    embeds_of = kind(network)
    for count, tiles in ((1, 2), (3, 3)):
        images = pictures(count)
        whole, parts = embeds_of(images), merge_tiles(embeds_of(cut_tiles(images, tiles)), tiles)
        expected = torch.cat((whole * 0.25, parts)) if count == 1 else whole * 0.25 + parts * 0.75
        torch.testing.assert_close(encode_tiled(embeds_of, images, tiles, 0.25), expected)


def test_one_tile_is_the_whole_image():
    assert torch.equal(encode_tiled(hidden_of(Linear()), pictures(), 1, 0.5), Linear()(pictures()).hidden)
