"""Split a canvas into regions: rows, columns, a grid, or the colours of a drawing.

Regions are masks (n, height, width). Wherever a region lies, their sum is 1, at soft edges too.
"""

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

Colour = tuple[float, float, float]  # red, green, blue, 0 to 1
Shares = Sequence[float]

LIKE = 0.25  # colours at a smaller distance are the same colour, blurred by pencil edges or compression
LEAST = 0.02  # share of a drawing that a colour must cover to be a region
MOST_PIXELS = 2**29  # of all regions together: 2 GiB; 64 regions of 2048 x 2048 are half of it
LEVELS = 16  # levels per channel, while colours are counted
# Far apart from each other, for most kinds of colour blindness too.
PALETTE = ("#e8743b", "#3b8ee8", "#f2c14e", "#8f5bd1", "#4fb286", "#e36397", "#7d8597", "#a3d65c")


class TooManyRegions(ValueError):
    """A canvas has too few pixels for its regions."""


def equal(count: int) -> list[float]:
    """`count` equal shares, (count,)."""
    return [1.0] * count


SPLITS: dict[str, Callable[[int, int], tuple[Shares, Shares]]] = {  # rows, columns -> shares of height and of width
    "columns": lambda rows, columns: (equal(1), equal(columns)),
    "rows": lambda rows, columns: (equal(rows), equal(1)),
    "grid": lambda rows, columns: (equal(rows), equal(columns)),
    "thirds across": lambda rows, columns: (equal(1), equal(3)),
    "thirds down": lambda rows, columns: (equal(3), equal(1)),
}


def parse_shares(text: str) -> list[float]:
    """The shares in a text such as `2, 1, 1`, (count,); ValueError unless they are numbers from 1e-6 to 1e6."""
    try:
        shares = [float(entry) for entry in re.split(r"[,;:\s]+", text.strip()) if entry]
    except ValueError:
        shares = [0.0]
    if any(not 1e-6 <= share <= 1e6 for share in shares):
        raise ValueError(f"{text!r:.80} is not a list of shares. Expected numbers above 0, such as '2, 1, 1'.")
    return shares


def split_canvas(heights: Shares, widths: Shares, height: int, width: int) -> Tensor:
    """Rectangles in reading order, (rows * columns, height, width), whose sides follow the shares.

    TooManyRegions if a region would get no pixel, ValueError if the regions would exceed MOST_PIXELS.
    """
    check_memory(len(heights) * len(widths), height, width)
    rows, columns = _edges(heights, height), _edges(widths, width)
    regions = torch.zeros(len(heights) * len(widths), height, width)
    for number, region in enumerate(regions):
        row, column = divmod(number, len(widths))
        region[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = 1.0
    return regions


def check_memory(regions: int, height: int, width: int) -> None:
    """ValueError if so many regions of this size would exceed MOST_PIXELS."""
    if regions * height * width > MOST_PIXELS:
        size = regions * height * width * 4 / 2**30
        raise ValueError(
            f"{regions} regions of {width} x {height} pixels would take {size:.0f} GiB. Split into fewer regions, or "
            "use a smaller canvas: masks may be smaller than the picture."
        )


def _edges(shares: Shares, length: int) -> list[int]:
    cumulated = torch.tensor([0.0, *shares], dtype=torch.float64).cumsum(0)
    edges = (cumulated / cumulated[-1] * length).round().int().tolist()
    if any(first == second for first, second in pairwise(edges)):
        raise TooManyRegions(
            f"{len(shares)} regions do not fit into {length} pixels. Split into fewer regions, or use a larger canvas."
        )
    return edges


def parse_colours(text: str) -> list[Colour]:
    """The colours in a text such as `#ff0000, #00f`; ValueError quotes an entry that is not a colour."""
    colours = []
    for entry in filter(None, re.split(r"[,;\s]+", text)):
        digits = entry.removeprefix("#")
        digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
        if not re.fullmatch(r"[0-9a-fA-F]{6}", digits):
            raise ValueError(f"{entry!r:.80} is not a colour. Expected red, green and blue such as '#ff8000'.")
        colours.append(tuple(int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)))
    return colours


def split_by_colour(
    drawing: Tensor, height: int, width: int, colours: Sequence[Colour] = (), background: Sequence[Colour] = ()
) -> Tensor:
    """One region per colour of a drawing (h, w, 3), 0 to 1, as (n, height, width).

    Every pixel belongs to the nearest of all colours; pixels of a `background` colour belong to no region. Without
    `colours` the drawing's own colours are taken, and the regions are in order from left to right, then from top to
    bottom. ValueError if the drawing has no colour beside the background.
    """
    pixels = drawing[..., :3].float()
    painted = list(colours) or [
        colour for colour in find_colours(pixels) if all(math.dist(colour, other) > LIKE for other in background)
    ]
    if not painted:
        raise ValueError("The drawing has no colour beside the background. Paint each region in a colour of its own.")
    check_memory(len(painted), height, width)
    palette = torch.tensor([*painted, *background], dtype=torch.float32, device=pixels.device)
    nearest = torch.cdist(pixels.flatten(0, 1), palette).argmin(1).view(1, 1, *pixels.shape[:2])
    nearest = F.interpolate(nearest.float(), size=(height, width), mode="nearest-exact")[0, 0]
    regions = torch.stack([(nearest == number).float() for number in range(len(painted))])
    return regions if colours else regions[_reading_order(regions)]


def find_colours(pixels: Tensor) -> list[Colour]:
    """The colours of a drawing (h, w, 3), largest area first; similar shades count as the same colour."""
    cells = (pixels.flatten(0, 1) * LEVELS).floor().clamp(0, LEVELS - 1).long()
    numbers = (cells[:, 0] * LEVELS + cells[:, 1]) * LEVELS + cells[:, 2]
    present, counts = numbers.unique(return_counts=True)
    found: list[Colour] = []
    for number in present[counts.argsort(descending=True, stable=True)]:
        if (numbers == number).float().mean() < LEAST:
            break
        colour = tuple(pixels.flatten(0, 1)[numbers == number].mean(0).tolist())
        if all(math.dist(colour, other) > LIKE for other in found):
            found.append(colour)
    return found


def _reading_order(regions: Tensor) -> list[int]:
    centres = [tuple(where.nonzero().float().mean(0).tolist()) if where.any() else (0.0, 0.0) for where in regions]
    return sorted(range(len(regions)), key=lambda number: (centres[number][1], centres[number][0]))


def soften(regions: Tensor, softness: float) -> Tensor:
    """Regions (n, height, width) that fade into each other; `softness` is the fade's share of the shorter side.

    The filter is a Gaussian whose deviation is a quarter of the fade. It keeps sums, so regions that fill the canvas
    still fill it.
    """
    deviation = softness * min(regions.shape[-2:]) / 4
    if deviation < 0.1:
        return regions
    reach = int(3 * deviation + 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=regions.device) / deviation) ** 2)
    kernel = kernel / kernel.sum()
    soft = torch.empty_like(regions)
    for region, blurred in zip(regions, soft, strict=True):  # singly: padded copies of all would double the memory
        padded = F.pad(region[None, None], (reach, reach, reach, reach), mode="replicate")
        blurred.copy_(F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[0, 0])
    return soft.clamp_(0, 1)


def draw_regions(regions: Tensor, longest: int = 512) -> Image.Image:
    """A picture of regions (n, height, width), each with a colour and number; the longer side has `longest` pixels."""
    height, width = regions.shape[-2:]
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    palette = torch.tensor(parse_colours(" ".join(PALETTE)))
    colours = palette[torch.arange(len(regions)) % len(palette)]
    painted = torch.einsum("nhw,nc->hwc", regions.cpu(), colours).clamp(0, 1)
    picture = Image.fromarray((painted * 255).round().byte().numpy()).resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(longest // 10)
    for number, region in enumerate(regions.cpu(), start=1):
        where = (region >= 0.5).nonzero().float()
        if len(where):
            y, x = ((where.mean(0) + 0.5) * scale).tolist()
            draw.text(
                (x, y), str(number), (255, 255, 255), font, "mm", stroke_width=longest // 128, stroke_fill=(20, 20, 26)
            )
    return picture
