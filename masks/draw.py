"""Draw masks as pictures: white where they act, with a frame, so that white is seen on white and black on black."""

import torch
from PIL import Image, ImageOps
from torch import Tensor

FRAME = (128, 132, 144)
SHOWN = 8  # masks of a batch, side by side


def draw_masks(masks: Tensor, longest: int = 512) -> Image.Image:
    """A picture of the first few masks (n, height, width), 0 to 1, next to each other, `longest` pixels in all.

    A mask of the picture's size or smaller keeps its pixels hard; a larger one is averaged.
    """
    row = torch.cat(list(masks[:SHOWN].clamp(0, 1).cpu()), dim=1)
    picture = Image.fromarray((row * 255).round().to(torch.uint8).numpy()).convert("RGB")
    picture = ImageOps.contain(picture, (longest, longest), Image.Resampling.BOX)
    width = masks.shape[2] * picture.width / row.shape[1]
    framed = ImageOps.expand(picture, 2, FRAME)
    for number in range(1, len(masks[:SHOWN])):
        x = round(number * width) + 1
        framed.paste(FRAME, (x, 0, x + 2, framed.height))
    return framed
