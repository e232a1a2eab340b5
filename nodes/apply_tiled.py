"""Apply a picture in tiles, each acting where it lies, so that long pictures and fine detail get through."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..encoders.tiles import Tile, cut_reference
from ..ipadapter.checks import check_images
from . import inputs
from .apply_base import ApplyNode, connected, strength_of
from .applying.apply import Applied, Request, apply_adapter
from .applying.encoding import Reference


class IPAdapterTiled(ApplyNode):
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
                inputs.image(tooltip="Reference of any shape: nothing is cropped up to a ratio of 4 to 1."),
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
    def request(
        cls,
        combine_embeds: str = "concat",
        encode_batch_size: int = 0,
        image_negative: Tensor | None = None,
        **strength: Any,
    ) -> Request:
        """What every tile asks for, which brings its own picture and mask."""
        reference = Reference(
            negative=image_negative,
            combine=combine_embeds,
            per_frame=cls.per_frame,
            encode_batch_size=encode_batch_size,
        )
        return Request(reference, strength_of(**strength))

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ipadapter: Any,
        image: Tensor,
        sharpening: float = 0.0,
        attn_mask: Tensor | None = None,
        clip_vision: Any = None,
        insightface: Any = None,
        **inputs: Any,
    ) -> io.NodeOutput:
        tiles = cut_reference(check_images(image), attn_mask, sharpening)
        request = cls.request(**connected(inputs))
        applied = apply_tiles(model, ipadapter, tiles, request, clip_vision, insightface)
        pictures, masks = (torch.cat([getattr(tile, part) for tile in tiles]) for part in ("images", "mask"))
        return io.NodeOutput(applied.model, pictures, masks)


class IPAdapterTiledBatch(IPAdapterTiled):
    display_name, per_frame = "IPAdapter Tiled Batch", True


def apply_tiles(
    model: ModelPatcher,
    ipadapter: Any,
    tiles: Sequence[Tile],
    request: Request,
    clip_vision: Any,
    insightface: Any = None,
) -> Applied:
    """One application of the same adapter per tile, limited to the place of the tile."""
    tiled = [
        Request(replace(request.reference, images=tile.images), replace(request.strength, mask=tile.mask))
        for tile in tiles
    ]
    return apply_adapter(model, ipadapter, tiled, clip_vision, insightface)


NODES: list[type[io.ComfyNode]] = [IPAdapterTiled, IPAdapterTiledBatch]
