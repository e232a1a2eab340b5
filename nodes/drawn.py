"""Between Pillow's pictures and ComfyUI's images."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_image(picture: Image.Image) -> Tensor:
    """A picture as IMAGE, (1, height, width, 3), 0 to 1."""
    return torch.from_numpy(np.asarray(picture.convert("RGB")).astype(np.float32) / 255.0)[None]


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Every picture of an IMAGE (n, height, width, channels); values are clamped to 0 to 1."""
    pixels = (images[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return [Image.fromarray(np.repeat(page, 3, -1) if page.shape[-1] == 1 else page) for page in pixels]
