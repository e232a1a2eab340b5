"""From a described node to a picture of its output, by the same code that runs in a graph."""

import base64
import binascii
import io as streams
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io
from PIL import Image, ImageOps, UnidentifiedImageError

from ...charts.heat_map import THEMES, Theme, draw_schedule
from ...ipadapter.families import LAYOUTS, Block
from ...masks.draw import draw_masks
from ...masks.regions import TooManyRegions, check_memory, draw_regions
from ..drawn import to_image
from ..masks import IPAdapterMaskComposite, IPAdapterSolidMask
from ..regions import IPAdapterRegionsByColour, IPAdapterSplitCanvas, colour_regions, region_masks, split_regions
from ..schedules import IPAdapterCombineSchedules, IPAdapterScheduleFromText, IPAdapterWeightSchedule
from . import limits
from .description import Described, DescriptionError, Reader, Value

SIDES = ("width", "height")
PIXELS = (*SIDES, "x", "y")  # inputs that count pixels, in every node that is drawn
LATENTS, IMAGES = ("EmptyLatentImage", "EmptySD3LatentImage"), ("EmptyImage", "LoadImage")
TOO_LARGE = "Pictures of over 4 megapixels are not drawn here. Run the graph to see the regions."
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


Outputs = list[Any]  # schedules or masks, in the order of the node's outputs


def executed(node: type[io.ComfyNode]) -> Callable[..., Outputs]:
    """A function from a node's inputs to its outputs, by the code of a run."""
    return lambda **inputs: list(node.execute(**inputs).args)


def _latent(width: int, height: int) -> Outputs:
    """An empty latent as ComfyUI makes it, whose sides are multiples of 8 pixels."""
    return [{"samples": torch.zeros(1, 4, height // 8, width // 8)}]


def _image(width: int, height: int) -> Outputs:
    return [torch.zeros(1, 1, 1, 3).expand(1, height, width, 3)]


MAKERS: dict[str, Callable[..., Outputs]] = {  # node id -> its outputs, from its inputs
    "IPAdapterWeightSchedule": executed(IPAdapterWeightSchedule),
    "IPAdapterCombineSchedules": executed(IPAdapterCombineSchedules),
    "IPAdapterScheduleFromText": executed(IPAdapterScheduleFromText),
    "IPAdapterSolidMask": executed(IPAdapterSolidMask),
    "IPAdapterMaskComposite": executed(IPAdapterMaskComposite),
    "IPAdapterSplitCanvas": lambda **inputs: region_masks(split_regions(**inputs)),
    "IPAdapterRegionsByColour": lambda **inputs: region_masks(colour_regions(**inputs)),
    **dict.fromkeys(LATENTS, _latent),  # ComfyUI's own nodes with a size, as canvas
    **dict.fromkeys(IMAGES, _image),
}
OURS: tuple[type[io.ComfyNode], ...] = (
    IPAdapterWeightSchedule, IPAdapterCombineSchedules, IPAdapterScheduleFromText, IPAdapterSolidMask,
    IPAdapterMaskComposite, IPAdapterSplitCanvas, IPAdapterRegionsByColour,
)  # fmt: skip


def schemas() -> Mapping[str, Mapping[str, io.Input]]:
    """The inputs of every node that a description may contain."""
    ours = {node.GET_SCHEMA().node_id: {item.id: item for item in node.GET_SCHEMA().inputs} for node in OURS}
    sides = {id: io.Int.Input(id, min=8, max=16384) for id in SIDES}
    return ours | dict.fromkeys((*LATENTS, *IMAGES), sides)


def make(described: Described) -> Any:
    """The output of a described node; ValueError as the node itself raises it."""
    values = {name: _value(value) for name, value in described.inputs.items()}
    outputs = MAKERS[described.node](**values)
    if described.output >= len(outputs):
        raise DescriptionError(f"{described.node} has {len(outputs)} outputs.")
    return outputs[described.output]


def _value(value: Value) -> object:
    if isinstance(value, bytes):
        return open_picture(value)
    return make(value) if isinstance(value, Described) else value


def open_picture(data: bytes) -> torch.Tensor:
    """A base64 picture file as IMAGE, like LoadImage's; ValueError for other data, before pixels are decoded."""
    try:
        with Image.open(streams.BytesIO(base64.b64decode(data, validate=True)), formats=FORMATS) as file:
            if math.prod(file.size) > limits.PICTURE_PIXELS:
                raise ValueError(TOO_LARGE)
            return to_image(ImageOps.exif_transpose(file))
    except Image.DecompressionBombError as error:
        raise ValueError(TOO_LARGE) from error
    except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError("This picture cannot be drawn here. Run the graph to see the regions.") from error


def shrunk(described: Described, factor: float) -> Described:
    """The description with every length in pixels multiplied by `factor`; the least length is one pixel."""
    if described.node in LATENTS:  # rounded to multiples of 8 first, so that the shrunk canvas has the same shape
        described = Described("EmptyImage", {name: value // 8 * 8 for name, value in described.inputs.items()})
    inputs: dict[str, Any] = {}
    for name, value in described.inputs.items():
        if isinstance(value, Described):
            value = shrunk(value, factor)
        elif name in PIXELS:
            value = max(round(value * factor), int(name in SIDES))
        inputs[name] = value
    return replace(described, inputs=inputs)


def longest_side(described: Described) -> int:
    """The longest side in pixels of the canvas of a node and of the nodes before it; 1 if none has a size."""
    own = [value for name, value in described.inputs.items() if name in SIDES]
    below = [longest_side(value) for value in described.inputs.values() if isinstance(value, Described)]
    return max([*(() if "canvas" in described.inputs else own), *below], default=1)


def most_regions(described: Described) -> int:
    """The largest number of regions that a node, or one before it, can have by its inputs."""
    inputs = described.inputs
    texts = [len(inputs.get(name, "").split(",")) for name in ("widths", "heights", "colours")]
    own = max(inputs.get("columns", 1), texts[0]) * max(inputs.get("rows", 1), texts[1]) * texts[2]
    return max([own, *(most_regions(value) for value in inputs.values() if isinstance(value, Described))])


def make_small(described: Described) -> torch.Tensor:
    """The node's masks; for large canvases and many regions, with all lengths multiplied by the same factor."""
    side = min(limits.LONGEST, int(math.sqrt(limits.MASK_FLOATS / most_regions(described))))
    factor = min(1.0, side / longest_side(described))
    if factor == 1.0:
        return make(described)
    try:
        masks = make(shrunk(described, factor))
    except TooManyRegions as error:
        raise ValueError("Too many regions to be drawn here. They are seen when the graph has run.") from error
    check_memory(len(masks), *(round(side / factor) for side in masks.shape[1:]))  # in full size, as in a run
    return masks


def _schedule(described: Described, blocks: tuple[Block, ...], theme: Theme) -> Image.Image:
    return draw_schedule(make(described).resolve(blocks), blocks, theme=theme)


def _regions(described: Described, blocks: tuple[Block, ...], theme: Theme) -> Image.Image:
    return draw_regions(make_small(described))


def _masks(described: Described, blocks: tuple[Block, ...], theme: Theme) -> Image.Image:
    return draw_masks(make_small(described))


PICTURES: dict[str, Callable[[Described, tuple[Block, ...], Theme], Image.Image]] = {  # node id -> its picture
    "IPAdapterWeightSchedule": _schedule,
    "IPAdapterCombineSchedules": _schedule,
    "IPAdapterSolidMask": _masks,
    "IPAdapterMaskComposite": _masks,
    "IPAdapterSplitCanvas": _regions,
    "IPAdapterRegionsByColour": _regions,
}


def draw(data: Mapping[str, Any]) -> Image.Image:
    """The picture for a request.

    Raises:
        DescriptionError: a request that cannot come from the page.
        ValueError: the node refuses a value.
    """
    described = Reader(schemas()).node(data.get("draw"))
    family, theme = data.get("family", "SD1.5"), data.get("theme", "dark")
    if family not in list(LAYOUTS) or theme not in list(THEMES):
        raise DescriptionError(f"Known families: {', '.join(LAYOUTS)}. Known themes: {', '.join(THEMES)}.")
    if described.node not in PICTURES:
        raise DescriptionError(f"{described.node} is not drawn.")
    return PICTURES[described.node](described, LAYOUTS[family], THEMES[theme])
