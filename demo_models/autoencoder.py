"""A small autoencoder between pixels and latents; every convolution runs at the latent's resolution."""

import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 8  # pixels per latent pixel, as in Stable Diffusion
CHANNELS = 8
WIDTH = 96


class ConvBlock(nn.Module):
    """A residual block of two 3 x 3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Autoencoder(nn.Module):
    """Pictures (n, 3, h, w) in -1..1 to latents (n, 8, h / 8, w / 8) of mean 0 and deviation 1, and back."""

    def __init__(self) -> None:
        super().__init__()
        pixels = 3 * PATCH**2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(PATCH), nn.Conv2d(pixels, WIDTH, 1), ConvBlock(WIDTH), nn.Conv2d(WIDTH, CHANNELS, 1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(CHANNELS, WIDTH, 3, padding=1), ConvBlock(WIDTH), ConvBlock(WIDTH), ConvBlock(WIDTH),
            nn.Conv2d(WIDTH, pixels, 1), nn.PixelShuffle(PATCH),
        )  # fmt: skip

    def encode(self, pictures: Tensor) -> Tensor:
        return self.encoder(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)
