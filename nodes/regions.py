"""Split the canvas into regions, one reference for each."""

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..masks.compose import canvas_size
from ..masks.regions import (
    SPLITS,
    draw_regions,
    parse_colours,
    parse_shares,
    soften,
    split_by_colour,
    split_canvas,
)
from .drawn import to_image
from .inputs import Choice
from .masks import pixels
from .node import AtelierNode
from .sockets import Canvas

CATEGORY = "ipadapter/masks"
NAMED = 4  # regions that have an output of their own


def size_inputs() -> list[io.Input]:
    tip = "Latent, image or mask whose size in pixels takes the place of width and height, so that regions follow it."
    return [
        pixels("width", 512, 1, "Width in pixels. Not used while a canvas is connected."),
        pixels("height", 512, 1, "Height in pixels. Not used while a canvas is connected."),
        io.MultiType.Input("canvas", types=[io.Latent, io.Image, io.Mask], optional=True, tooltip=tip),
    ]


def softness() -> io.Input:
    tip = "How wide regions fade into each other, as a share of the canvas's shorter side. 0 gives hard edges."
    return io.Float.Input("softness", default=0.0, min=0.0, max=1.0, step=0.01, tooltip=tip)


def region_outputs() -> list[io.Output]:
    words = ("first", "second", "third", "fourth")
    singles = [f"The {word} region; black where there are fewer." for word in words]
    return [
        io.Mask.Output(display_name="regions", tooltip="All regions, as a batch of masks."),
        *(io.Mask.Output(display_name=word, tooltip=tip) for word, tip in zip(words, singles, strict=True)),
    ]


def split_regions(
    split: str, columns: int, rows: int, softness: float, width: int, height: int, canvas: Canvas | None = None,
    widths: str = "", heights: str = "",
) -> Tensor:  # fmt: skip
    """The regions (n, height, width) of the inputs of IPAdapterSplitCanvas; ValueError says which of them is wrong."""
    size = (height, width) if canvas is None else canvas_size(canvas)
    down, across = SPLITS[split](rows, columns)
    return soften(split_canvas(parse_shares(heights) or down, parse_shares(widths) or across, *size), softness)


def colour_regions(
    drawing: Tensor,
    colours: str,
    background: str,
    softness: float,
    width: int,
    height: int,
    canvas: Canvas | None = None,
) -> Tensor:
    """The regions (n, height, width) of the inputs of IPAdapterRegionsByColour; ValueError as split_by_colour."""
    size = (height, width) if canvas is None else canvas_size(canvas)
    regions = split_by_colour(drawing[0], *size, parse_colours(colours), parse_colours(background))
    return soften(regions, softness)


def region_masks(regions: Tensor) -> list[Tensor]:
    """All regions as a batch, then the first NAMED regions singly; black masks if there are fewer."""
    black = torch.zeros_like(regions[:1])
    return [regions, *(regions[n : n + 1] if n < len(regions) else black for n in range(NAMED))]


def regions_output(regions: Tensor, cls: type[io.ComfyNode]) -> io.NodeOutput:
    """The outputs of `region_masks`, with a picture of the regions in the node."""
    return io.NodeOutput(*region_masks(regions), ui=ui.PreviewImage(to_image(draw_regions(regions)), cls=cls))


class IPAdapterSplitCanvas(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        shares = "In place of equal parts, shares such as 2, 1, 1."
        return io.Schema(
            node_id="IPAdapterSplitCanvas",
            display_name="IPAdapter Split Canvas",
            category=CATEGORY,
            description="Masks for the parts of a picture: columns, rows or a grid, one for each attn_mask.",
            search_aliases=["regional", "regions", "attention mask", "two people"],
            is_output_node=True,
            inputs=[
                Choice(
                    "split",
                    options=list(SPLITS),
                    tooltip="How the canvas is divided; regions count like words on a page.",
                ),
                io.Int.Input("columns", default=2, min=1, max=64, tooltip="Parts side by side, for columns and grid."),
                io.Int.Input("rows", default=2, min=1, max=64, tooltip="Parts above each other, for rows and grid."),
                softness(),
                *size_inputs(),
                io.String.Input("widths", default="", optional=True, tooltip=f"Widths of the columns. {shares}"),
                io.String.Input("heights", default="", optional=True, tooltip=f"Heights of the rows. {shares}"),
            ],
            outputs=region_outputs(),
        )

    @classmethod
    def run(
        cls,
        split: str,
        columns: int,
        rows: int,
        softness: float,
        width: int,
        height: int,
        canvas: Canvas | None = None,
        widths: str = "",
        heights: str = "",
    ) -> io.NodeOutput:
        regions = split_regions(split, columns, rows, softness, width, height, canvas, widths, heights)
        return regions_output(regions, cls)


class IPAdapterRegionsByColour(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        colours = "Colours of the regions in order, #ff0000, #00f. Empty: all colours found, from left to right."
        return io.Schema(
            node_id="IPAdapterRegionsByColour",
            display_name="IPAdapter Regions By Colour",
            category=CATEGORY,
            description="Masks from a drawing: every colour that is painted is a region.",
            search_aliases=["color mask", "segmentation", "regional", "paint"],
            is_output_node=True,
            inputs=[
                io.Image.Input("drawing", tooltip="A picture with one flat colour for each region."),
                io.String.Input("colours", default="", tooltip=colours),
                io.String.Input("background", default="#000, #fff", tooltip="Colours that are not regions."),
                softness(),
                *size_inputs(),
            ],
            outputs=region_outputs(),
        )

    @classmethod
    def run(
        cls,
        drawing: Tensor,
        colours: str,
        background: str,
        softness: float,
        width: int,
        height: int,
        canvas: Canvas | None = None,
    ) -> io.NodeOutput:
        return regions_output(colour_regions(drawing, colours, background, softness, width, height, canvas), cls)


class IPAdapterPickRegion(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterPickRegion",
            display_name="IPAdapter Pick Region",
            category=CATEGORY,
            description="One region of many, by its number in the preview.",
            inputs=[
                io.Mask.Input("regions", tooltip="All regions."),
                io.Int.Input("number", default=1, min=1, max=4096, tooltip="Which region, counted from 1."),
            ],
            outputs=[io.Mask.Output(display_name="MASK", tooltip="That region.")],
        )

    @classmethod
    def run(cls, regions: Tensor, number: int) -> io.NodeOutput:
        if number > len(regions):
            raise ValueError(f"There is no region {number}: there are {len(regions)}.")
        return io.NodeOutput(regions[number - 1 : number])


NODES: list[type[io.ComfyNode]] = [IPAdapterSplitCanvas, IPAdapterRegionsByColour, IPAdapterPickRegion]
