"""Apply a picture in tiles, each acting where it lies, so that long pictures and fine detail get through."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from comfy_api.latest import io
from torch import Tensor

from ..encoders.tiles import Tile, cut_reference
from ..ipadapter.checks import check_images
from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AppliedOutput
from .applying.apply import Applied, Request, Strength, apply_adapter
from .applying.encoding import Reference
from .old.methods import TiledMethod
from .sockets import Adapter, ClipVision, Model, Weight


class IPAdapterTiled(TiledMethod):
    display_name = "IPAdapter Tiled"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.__name__,
            display_name=cls.display_name,
            category="ipadapter/tiled",
            description="Cuts the reference into square tiles; each acts on the part of the result where it lies.",
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image(tooltip="Reference of any shape: only beyond a ratio of 4 to 1 are its ends cropped."),
                inputs.weight(),
                inputs.weight_type(),
                *([] if cls.per_frame else [inputs.combine_embeds()]),
                *inputs.active_range(),
                inputs.sharpening(),
                inputs.embeds_scaling(),
                *([inputs.encode_batch_size()] if cls.per_frame else []),
                *inputs.optional_images(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output(), *inputs.tile_outputs()],
        )

    @classmethod
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        image: Tensor,
        weight: Weight = 1.0,
        weight_type: str = "linear",
        combine_embeds: str = "concat",
        start_at: float = 0.0,
        end_at: float = 1.0,
        sharpening: float = 0.0,
        embeds_scaling: str = "V only",
        encode_batch_size: int = 0,
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        tiles = cut_reference(check_images(image), attn_mask, sharpening)
        reference = Reference(
            negative=image_negative,
            combine=combine_embeds,
            per_frame=cls.per_frame,
            encode_batch_size=encode_batch_size,
        )
        strength = Strength(
            weight, weight_type, schedule=schedule, start_at=start_at, end_at=end_at, scaling=embeds_scaling
        )
        applied = apply_tiles(model, ipadapter, tiles, Request(reference, strength), clip_vision)
        pictures, masks = torch.cat([tile.images for tile in tiles]), torch.cat([tile.mask for tile in tiles])
        return AppliedOutput(applied, pictures, masks)


class IPAdapterTiledBatch(IPAdapterTiled):
    display_name, per_frame = "IPAdapter Tiled Batch", True


def apply_tiles(
    model: Model,
    ipadapter: Adapter,
    tiles: Sequence[Tile],
    request: Request,
    clip_vision: ClipVision | None,
) -> Applied:
    """The same request once per tile, with the picture of the tile and a mask of where the tile lies."""
    tiled = [
        Request(replace(request.reference, images=tile.images), replace(request.strength, mask=tile.mask))
        for tile in tiles
    ]
    return apply_adapter(model, ipadapter, tiled, clip_vision)


NODES: list[type[io.ComfyNode]] = [IPAdapterTiled, IPAdapterTiledBatch]
