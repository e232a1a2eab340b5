"""Pictures that lessons begin with and that no camera took: a pose, a normal map, a photo with a part masked out."""

import shutil
from math import sqrt
from pathlib import Path

from PIL import Image, ImageDraw

from .assets import photo
from .host import ROOT

SIZE = 512
EXAMPLES = ROOT / "scripts"
# OpenPose's 18 points of a body, as shares of its height, and the bones between them in its colours.
BODY = {
    "nose": (0, 0.08), "neck": (0, 0.2), "r shoulder": (-0.12, 0.2), "r elbow": (-0.16, 0.36), "r wrist": (-0.12, 0.5),
    "l shoulder": (0.12, 0.2), "l elbow": (0.16, 0.36), "l wrist": (0.12, 0.5), "r hip": (-0.07, 0.52),
    "r knee": (-0.08, 0.74), "r ankle": (-0.08, 0.96), "l hip": (0.07, 0.52), "l knee": (0.08, 0.74),
    "l ankle": (0.08, 0.96), "r eye": (-0.02, 0.06), "l eye": (0.02, 0.06), "r ear": (-0.05, 0.07),
    "l ear": (0.05, 0.07),
}  # fmt: skip
BONES = (
    "neck-r shoulder", "neck-l shoulder", "r shoulder-r elbow", "r elbow-r wrist", "l shoulder-l elbow",
    "l elbow-l wrist", "neck-r hip", "r hip-r knee", "r knee-r ankle", "neck-l hip", "l hip-l knee", "l knee-l ankle",
    "neck-nose", "nose-r eye", "r eye-r ear", "nose-l eye", "l eye-l ear",
)  # fmt: skip
COLOURS = (
    "#ff0000", "#ff5500", "#ffaa00", "#ffff00", "#aaff00", "#55ff00", "#00ff00", "#00ff55", "#00ffaa", "#00ffff",
    "#00aaff", "#0055ff", "#0000ff", "#5500ff", "#aa00ff", "#ff00ff", "#ff00aa", "#ff0055",
)  # fmt: skip


def two_people() -> Image.Image:
    """Two standing people, as an OpenPose ControlNet was trained to see them."""
    picture = Image.new("RGB", (SIZE, SIZE), "black")
    draw = ImageDraw.Draw(picture)
    for middle, height in ((0.27, 0.94), (0.73, 0.88)):
        points = {
            name: (SIZE * (middle + x * height), SIZE * (0.99 - height * (1 - y))) for name, (x, y) in BODY.items()
        }
        for bone, colour in zip(BONES, COLOURS, strict=False):
            first, second = bone.split("-")
            draw.line([points[first], points[second]], fill=colour, width=8)
        for (x, y), colour in zip(points.values(), COLOURS, strict=True):
            draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=colour)
    return picture


def normal_map() -> Image.Image:
    """A bust of four ellipsoids: shoulders, neck, head and nose, turned a little to the side."""
    shapes = ((256, 560, 230, 190, 120), (256, 380, 70, 90, 70), (250, 220, 115, 150, 125), (205, 235, 22, 40, 160))
    picture = Image.new("RGB", (SIZE, SIZE), (128, 128, 255))
    pixels = picture.load()
    assert pixels is not None
    for y in range(SIZE):
        for x in range(SIZE):
            nearest = 0.0
            for cx, cy, rx, ry, rz in shapes:
                u, v = (x - cx) / rx, (y - cy) / ry
                if (rest := 1 - u * u - v * v) > 0 and rz * sqrt(rest) > nearest:
                    nearest = rz * sqrt(rest)
                    normal = (u / rx, -v / ry, sqrt(rest) / rz)
                    length = sqrt(sum(part * part for part in normal))
                    pixels[x, y] = tuple(round(127.5 * (part / length + 1)) for part in normal)
    return picture


def person_with_hole() -> Image.Image:
    """A photo whose face is masked out, as the page's mask editor does it: by transparency."""
    with Image.open(photo("astronaut.png")) as opened:
        picture = opened.convert("RGBA")
    alpha = Image.new("L", picture.size, 255)
    ImageDraw.Draw(alpha).ellipse([165, 45, 285, 215], fill=0)
    picture.putalpha(alpha)
    return picture


DRAWN = {"two_people.png": two_people, "normal_map.png": normal_map}  # these come with the pack


def write_examples() -> None:
    for name, draw in DRAWN.items():
        draw().save(EXAMPLES / name, optimize=True)


def write_inputs(folder: Path) -> None:
    """All of them, where Load Image finds them."""
    for name in DRAWN:
        shutil.copyfile(EXAMPLES / name, folder / name)
    person_with_hole().save(folder / "person_with_hole.png")
