"""Masks of one value, and masks laid over each other: ComfyUI's own two nodes, with sizes that can follow a canvas."""

from comfy_api.latest import io
from torch import Tensor

from ..masks.compose import OPERATIONS, canvas_size, composite_masks, share, solid_mask
from .inputs import Choice
from .node import AtelierNode
from .sockets import Canvas

LIMIT = 16384  # pixels; the host's own MAX_RESOLUTION


def pixels(id: str, default: int, minimum: int, tooltip: str) -> io.Input:
    return io.Int.Input(id, default=default, min=minimum, max=LIMIT, step=1, tooltip=tooltip)


def fraction(id: str, default: float, tooltip: str) -> io.Input:
    return io.Float.Input(id, default=default, min=0.0, max=1.0, step=0.01, optional=True, tooltip=tooltip)


class IPAdapterSolidMask(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterSolidMask",
            display_name="IPAdapter Solid Mask",
            category="ipadapter/masks",
            description=(
                "A mask of one value. Plug a latent or image into canvas and give its size as fractions, "
                "and the mask follows when the canvas changes."
            ),
            inputs=[
                io.Float.Input("value", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 is white, 0 is black."),
                pixels("width", 512, 1, "Width in pixels. Not used while a canvas is connected."),
                pixels("height", 512, 1, "Height in pixels. Not used while a canvas is connected."),
                io.MultiType.Input(
                    "canvas",
                    types=[io.Latent, io.Image, io.Mask],
                    optional=True,
                    tooltip="Latent, image or mask whose size in pixels takes the place of width and height.",
                ),
                fraction("width_fraction", 1.0, "Share of the width that the mask takes: 0.5 is half of the canvas."),
                fraction("height_fraction", 1.0, "Share of the height that the mask takes: 0.5 is half of the canvas."),
            ],
            outputs=[io.Mask.Output(display_name="MASK", tooltip="The mask.")],
        )

    @classmethod
    def run(
        cls,
        value: float,
        width: int,
        height: int,
        canvas: Canvas | None = None,
        width_fraction: float = 1.0,
        height_fraction: float = 1.0,
    ) -> io.NodeOutput:
        rows, columns = (height, width) if canvas is None else canvas_size(canvas)
        return io.NodeOutput(solid_mask(value, share(height_fraction, rows), share(width_fraction, columns)))


class IPAdapterMaskComposite(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterMaskComposite",
            display_name="IPAdapter Mask Composite",
            category="ipadapter/masks",
            description=(
                "Lays one mask over another. The place may be given in pixels, "
                "or as fractions of the destination so that it follows when the destination's size changes."
            ),
            inputs=[
                io.Mask.Input("destination", tooltip="The mask below; the result has its size."),
                io.Mask.Input("source", tooltip="The mask that is laid over it; parts beyond its edges are cut off."),
                pixels("x", 0, 0, "Pixels from the left edge of the destination to the source."),
                pixels("y", 0, 0, "Pixels from the upper edge of the destination to the source."),
                Choice("operation", options=list(OPERATIONS), tooltip="What happens where both masks lie."),
                fraction("x_fraction", 0.0, "Added to x, as a share of the destination's width: 0.5 is its middle."),
                fraction("y_fraction", 0.0, "Added to y, as a share of the destination's height: 0.5 is its middle."),
            ],
            outputs=[io.Mask.Output(display_name="MASK", tooltip="The combined mask, 0 to 1.")],
        )

    @classmethod
    def run(
        cls,
        destination: Tensor,
        source: Tensor,
        x: int,
        y: int,
        operation: str,
        x_fraction: float = 0.0,
        y_fraction: float = 0.0,
    ) -> io.NodeOutput:
        rows, columns = canvas_size(destination)
        x, y = x + share(x_fraction, columns), y + share(y_fraction, rows)
        return io.NodeOutput(composite_masks(destination, source, x, y, operation))


NODES: list[type[io.ComfyNode]] = [IPAdapterSolidMask, IPAdapterMaskComposite]
