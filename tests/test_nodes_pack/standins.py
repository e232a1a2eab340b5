"""What a checkpoint's text encoder and VAE do, small: words become seeded vectors, latents become colours."""

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import comfy.clip_vision
import torch
from comfy import latent_formats
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from .unets import seed_weights

WIDTHS = {"sd15": 768, "sdxl": 2048, "sdxl refiner": 1280, "flux": 4096, "sd3.5": 4096, "edit": 24}
WORDS = {"flux": "flux", "sd3.5": "sd3.5", "xl": "sdxl"}
FORMATS: dict[str, type[latent_formats.LatentFormat]] = {
    "sd15": latent_formats.SD15, "sdxl": latent_formats.SDXL, "sdxl refiner": latent_formats.SDXL,
    "flux": latent_formats.Flux, "sd3.5": latent_formats.SD3, "qwen": latent_formats.Wan21,
}  # fmt: skip
TOKENS = 8  # of a prompt: every attention reads them, and 77 tell no more
POOLED = 1280


def family_of(name: str) -> str:
    """What the name of a checkpoint says: flux, sd3.5 or sdxl, else sd15."""
    return next((family for word, family in WORDS.items() if word in name.lower()), "sd15")


def seeded(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TextStandIn:
    """Answers CLIPTextEncode: every word is a vector drawn from its own spelling; those after the eighth are added."""

    def __init__(self, family: str, pooled: int = POOLED) -> None:
        self.width, self.pooled = WIDTHS[family], pooled

    def tokenize(self, text: str, **pictures: Any) -> list[str]:
        """The words; pictures, which encoders of edit models take beside them, are not looked at."""
        return text.lower().split()

    def encode_from_tokens_scheduled(self, tokens: list[str]) -> list[list[Any]]:
        table = torch.zeros(TOKENS, self.width + self.pooled)
        for number, word in enumerate(tokens):
            table[number % TOKENS] += seeded((self.width + self.pooled,), zlib.crc32(word.encode()))
        return [[table[None, :, : self.width], {"pooled_output": table[:, self.width :].mean(0, keepdim=True)}]]

    def encode_from_tokens(self, tokens: list[str], return_pooled: str | bool = False) -> tuple[Tensor, Tensor]:
        """As GLIGEN's nodes ask for it: the pooled vector before its projection, which is as wide as a token."""
        table = self.encode_from_tokens_scheduled(tokens)[0][0]
        return table, table.mean(1)


class TextTower:
    """What IPAdapter OpenCLIP Loader puts beside an encoder: a text is a vector drawn from its spelling."""

    def __init__(self, width: int) -> None:
        self.width = width

    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.cat([seeded((1, self.width), zlib.crc32(text.encode())) for text in texts])


class VaeStandIn:
    """Answers VAEDecode and VAEEncode with the linear colour map that ComfyUI's live previews use."""

    def __init__(self, family: str) -> None:
        format_: Any = FORMATS[family]()
        self.has_frames = format_.latent_dimensions == 3
        self.scale = format_.scale_factor
        self.factors = torch.tensor(format_.latent_rgb_factors)  # (4 or 16, 3)

    def decode(self, latent: Tensor) -> Tensor:
        latent = latent[:, :, 0] if latent.ndim == 5 else latent
        colours = (latent.movedim(1, -1) * self.scale) @ self.factors
        pictures = ((colours + 1) / 2).clamp(0, 1).movedim(-1, 1)
        return interpolate(pictures, scale_factor=8, mode="bilinear").clamp(0, 1).movedim(1, -1)

    def encode(self, pixels: Tensor) -> Tensor:
        small = avg_pool2d(pixels[..., :3].movedim(-1, 1), 8).movedim(1, -1)
        latent = ((small * 2 - 1) @ torch.linalg.pinv(self.factors) / self.scale).movedim(-1, 1).contiguous()
        return latent.unsqueeze(2) if self.has_frames else latent


def tiny_clip_vision(seed: int, hidden: int, projection: int, image_size: int) -> comfy.clip_vision.ClipVisionModel:
    """ComfyUI's own CLIP vision model, three layers deep, 257 tokens at 224 pixels."""
    return vision_model(
        seed, model_type="clip_vision_model", hidden_act="gelu", hidden_size=hidden, projection_dim=projection,
        image_size=image_size, num_attention_heads=max(1, hidden // 32),
    )  # fmt: skip


def tiny_siglip(seed: int, hidden: int = 32) -> comfy.clip_vision.ClipVisionModel:
    """ComfyUI's own SigLIP vision model, which gives tokens where its pooled embeds should be; 16 of them."""
    return vision_model(
        seed, model_type="siglip_vision_model", hidden_act="gelu_pytorch_tanh", hidden_size=hidden, image_size=56,
        num_attention_heads=2,
    )  # fmt: skip


def vision_model(seed: int, hidden_size: int, **config: Any) -> comfy.clip_vision.ClipVisionModel:
    config |= {
        "hidden_size": hidden_size, "intermediate_size": hidden_size * 2, "num_hidden_layers": 3, "num_channels": 3,
        "patch_size": 14, "layer_norm_eps": 1e-5,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:  # ComfyUI 0.16 takes a file only
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(config))
        model = comfy.clip_vision.ClipVisionModel(str(file))
    seed_weights(model.model, seed)
    return model
