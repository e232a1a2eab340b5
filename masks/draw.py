"""Draw masks as pictures, white where a reference acts. A grey frame separates them from a white or black page."""

import torch
from PIL import Image, ImageOps
from torch import Tensor

FRAME = (128, 132, 144)
MOST = 8  # masks of a batch, side by side


def draw_masks(masks: Tensor, longest: int = 512) -> Image.Image:
    """A picture of the first 8 masks (n, height, width), 0 to 1, side by side; its longer side has `longest` pixels.

    Enlarged masks keep hard pixels; reduced masks are averaged.
    """
    row = torch.cat(list(masks[:MOST].clamp(0, 1).cpu()), dim=1)
    picture = Image.fromarray((row * 255).round().to(torch.uint8).numpy()).convert("RGB")
    picture = ImageOps.contain(picture, (longest, longest), Image.Resampling.BOX)
    width = masks.shape[2] * picture.width / row.shape[1]
    framed = ImageOps.expand(picture, 2, FRAME)
    for number in range(1, len(masks[:MOST])):
        x = round(number * width) + 1
        framed.paste(FRAME, (x, 0, x + 2, framed.height))
    return framed
