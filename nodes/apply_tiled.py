"""Apply a picture in tiles, each acting where it lies, so that long pictures and fine detail get through."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..ipadapter.tiles import Tile, cut_legacy, cut_reference
from ..ipadapter.vision import check_images
from . import inputs
from .apply_base import LEGACY_TYPES, ApplyNode, with_legacy_type
from .applying.apply import Applied, Request, apply_adapter


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
    def execute(
        cls,
        model: ModelPatcher,
        ipadapter: Any,
        image: Tensor,
        sharpening: float = 0.0,
        attn_mask: Tensor | None = None,
        clip_vision: Any = None,
        insightface: Any = None,
        **arguments: Any,
    ) -> io.NodeOutput:
        tiles = cut_reference(check_images(image), attn_mask, sharpening)
        applied = apply_tiles(model, ipadapter, tiles, cls.requests(**arguments), clip_vision, insightface)
        pictures, masks = (torch.cat([getattr(tile, part) for tile in tiles]) for part in ("images", "mask"))
        return io.NodeOutput(applied.model, pictures, masks)

    def apply_tiled(
        self,
        model: ModelPatcher,
        ipadapter: Any,
        image: Tensor,
        weight: float = 1.0,
        weight_type: str = "linear",
        start_at: float = 0.0,
        end_at: float = 1.0,
        sharpening: float = 0.0,
        **call: Any,
    ) -> tuple[Any, ...]:
        """For packs that create a node's class and call it: the model, the tiles and their masks."""
        numbers = {"weight": weight, "weight_type": weight_type, "start_at": start_at, "end_at": end_at}
        return type(self).execute(model, ipadapter, image, sharpening, **numbers, **call).args


class IPAdapterTiledBatch(IPAdapterTiled):
    display_name, per_frame = "IPAdapter Tiled Batch", True


class IPAdapterTilesMasked(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tiles_tip = "Tiles along the short side; as many as fit lie along the long one."
        weight_tip = "Strength of the fine tiles where there are several in both directions."
        return io.Schema(
            node_id="IPAdapterTilesMasked",
            display_name="IPAdapter Masked Tiles (experimental)",
            category="ipadapter",
            description="Of workflows from before March 2024; new ones use IPAdapter Tiled.",
            is_deprecated=True,
            inputs=[
                inputs.ipadapter(),
                inputs.clip_vision(optional=False),
                inputs.image(),
                inputs.model(),
                inputs.weight(default=0.7),
                inputs.noise(),
                inputs.weight_type(tuple(LEGACY_TYPES)),
                *inputs.active_range(),
                io.Int.Input("short_side_tiles", default=1, min=0, max=12, step=1, tooltip=tiles_tip),
                io.Float.Input("tile_weight", default=0.6, min=0.0, max=1.0, step=0.05, tooltip=weight_tip),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ipadapter: Any,
        clip_vision: Any,
        image: Tensor,
        short_side_tiles: int = 1,
        tile_weight: float = 0.6,
        **arguments: Any,
    ) -> io.NodeOutput:
        tiles = cut_legacy(check_images(image), short_side_tiles, tile_weight)
        requests = cls.requests(**with_legacy_type(arguments))
        return io.NodeOutput(apply_tiles(model, ipadapter, tiles, requests, clip_vision).model)


def apply_tiles(
    model: ModelPatcher,
    ipadapter: Any,
    tiles: Sequence[Tile],
    requests: Sequence[Request],
    clip_vision: Any,
    insightface: Any = None,
) -> Applied:
    """One application of the same adapter per tile, limited to the place of the tile."""
    ((reference, strength),) = requests
    tiled = [(replace(reference, images=tile.images), replace(strength, mask=tile.mask)) for tile in tiles]
    return apply_adapter(model, ipadapter, tiled, clip_vision, insightface)


NODES: list[type[io.ComfyNode]] = [IPAdapterTiled, IPAdapterTiledBatch, IPAdapterTilesMasked]
