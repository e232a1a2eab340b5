"""Noised pictures follow their formulas, always the same, and leave the program's random numbers alone."""

import pytest
import torch

from pack.encoders import noise as module
from pack.encoders.noise import NOISES, contrast_copy, gaussian_blur, noisy, squared


def picture(height: int = 40, width: int = 60, channels: int = 3) -> torch.Tensor:
    return torch.rand((1, height, width, channels), generator=torch.Generator().manual_seed(1))


def seeded(images: torch.Tensor) -> torch.Generator:
    return torch.Generator().manual_seed(int(images.sum()) % 1_000_000_007)


def test_fade_mixes_with_uniform_noise():
    x = squared(picture())
    u = torch.rand(x.shape, generator=seeded(x))
    assert noisy("fade", 0.25, images=picture()).equal((x * 0.75 + u * 0.25).clamp(0, 1))


def test_dissolve_replaces_that_share_of_the_values():
    x = squared(picture())
    made = noisy("dissolve", 0.3, images=picture())
    changed = made != x.clamp(0, 1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.01)  # 150,000 draws: 8 standard deviations
    assert noisy("dissolve", 0.0, images=picture()).equal(x.clamp(0, 1))


def test_gaussian_adds_normal_noise():
    x = squared(picture())
    n = torch.randn(x.shape, generator=seeded(x))
    assert noisy("gaussian", 0.5, images=picture()).equal((x + 0.5 * n).clamp(0, 1))


def test_noise_alone_begins_from_black_with_seed_zero():
    u = torch.rand((1, 224, 224, 3), generator=torch.Generator().manual_seed(0))
    assert noisy("fade", 1.0).equal(u)


def test_shuffle_keeps_colours_and_loses_content():
    halves = torch.zeros(1, 64, 64, 3)
    halves[:, :, :32, 0] = 1.0
    made = noisy("shuffle", 0.0, images=halves)
    assert made[:, :, 130:, 0].mean() > 0.9 and made[:, :, :94, 0].mean() < 0.1  # turned: red is right now


def test_shuffle_equals_the_distortion_and_flips_of_torchvision():
    torchvision = pytest.importorskip("torchvision.transforms", reason="judge of the same formulas")
    x = squared(picture())
    strength = 0.4
    chain = torchvision.Compose(
        [
            torchvision.ElasticTransform(alpha=75.0, sigma=3.5 * (1 - strength)),
            torchvision.RandomVerticalFlip(p=1.0),
            torchvision.RandomHorizontalFlip(p=1.0),
        ]
    )
    with torch.random.fork_rng():
        torch.manual_seed(int(x.sum()) % 1_000_000_007)
        turned = chain(x.movedim(-1, 1)).movedim(1, -1)
        m = 0.75 * strength * torch.randn(x.shape)
    expected = (turned * (1 - m) + m).clamp(0, 1)
    # The blur of the distortion field sums its kernel in another order.
    torch.testing.assert_close(noisy("shuffle", strength, images=picture()), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("blur", [1, 2, 9, 32])
def test_blur_is_torchvisions_with_the_next_odd_kernel(blur):
    torchvision = pytest.importorskip("torchvision.transforms.functional", reason="judge of the same formulas")
    plain = noisy("fade", 1.0).movedim(-1, 1)
    expected = torchvision.gaussian_blur(plain, [blur + (blur + 1) % 2] * 2).movedim(1, -1)
    # Convolution backends differ in the order of their sums.
    torch.testing.assert_close(noisy("fade", 1.0, blur), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", NOISES)
def test_the_same_input_gives_the_same_noise_and_leaves_the_global_generator_alone(kind):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = noisy(kind, 0.5, 3, picture())
    assert torch.get_rng_state().equal(before)
    assert first.equal(noisy(kind, 0.5, 3, picture()))
    assert first.shape == (1, 224, 224, 3) and first.min() >= 0 and first.max() <= 1


@pytest.mark.parametrize("kind", NOISES)
def test_pictures_with_alpha_and_batches_are_taken(kind):
    batch = picture(channels=4).expand(3, -1, -1, -1)
    assert noisy(kind, 0.5, images=batch).shape == (3, 224, 224, 3)


def test_the_contrast_copy_is_noisier_the_smaller_its_number():
    flat = torch.full((1, 224, 224, 3), 0.5)
    inner = (slice(None), slice(50, 170), slice(50, 170))
    for number, spread in ((0.01, 0.2975), (1.0, 0.05)):
        # 43,200 draws: the standard deviation of their deviation is a third of a percent.
        assert contrast_copy(flat, number)[inner].std().item() == pytest.approx(spread, rel=0.02)


def test_the_contrast_copy_is_not_clamped_and_always_the_same():
    made = contrast_copy(picture(), 0.01)
    assert made.min() < 0 and made.max() > 1
    assert made.equal(contrast_copy(picture(), 0.01))


@pytest.mark.parametrize("noise", [0.0, -0.1, 1.5])
def test_a_contrast_copy_without_noise_is_refused(noise):
    with pytest.raises(ValueError, match="above 0"):
        contrast_copy(picture(), noise)


def test_pieces_of_other_sizes_work(monkeypatch):
    monkeypatch.setattr(module, "SIZE", 32)
    assert noisy("shuffle", 0.2, images=picture(9, 9)).shape == (1, 32, 32, 3)


def test_a_blurred_flat_plane_stays_flat():
    flat = torch.full((1, 2, 12, 12), 0.25)
    torch.testing.assert_close(gaussian_blur(flat, 7, 2.0), flat)  # the kernel's weights sum to one up to rounding
