"""Compatibility only: nodes that exist for the sake of workflows of 2023 and early 2024."""

from comfy_api.latest import io
from torch import Tensor

from ..encoders.tiles import cut_legacy
from ..ipadapter.checks import check_images
from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AcceptsRenamed, AppliedOutput
from .apply_tiled import apply_tiles
from .applying.apply import Request, Strength, apply_adapter
from .applying.encoding import Reference
from .embeds import join
from .face_loader import insightface_output, provider_input
from .loading.face_packs import load_face_models
from .old.methods import BatchMethod, FirstApplyMethod, FirstLoadInsightFaceMethod, FirstTiledMethod
from .old.names import FIRST_TYPES, layers_and_scaling
from .sockets import Adapter, ClipVision, Model, Weight


class IPAdapterTilesMasked(AcceptsRenamed, FirstTiledMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tiles_tip = "Tiles along the short side; as many as fit lie along the long one."
        weight_tip = "Strength of the fine tiles where there are several in both directions."
        return io.Schema(
            node_id="IPAdapterTilesMasked",
            display_name="IPAdapter Masked Tiles (experimental)",
            category="ipadapter/old",
            description="For workflows from before March 2024; new ones use IPAdapter Tiled.",
            is_deprecated=True,
            inputs=[
                inputs.ipadapter(),
                inputs.clip_vision(optional=False),
                inputs.image(),
                inputs.model(),
                inputs.weight(default=0.7),
                inputs.noise(),
                inputs.weight_type(tuple(FIRST_TYPES)),
                *inputs.active_range(),
                io.Int.Input("short_side_tiles", default=1, min=0, max=12, step=1, tooltip=tiles_tip),
                io.Float.Input("tile_weight", default=0.6, min=0.0, max=1.0, step=0.05, tooltip=weight_tip),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def run(
        cls,
        ipadapter: Adapter,
        image: Tensor,
        model: Model,
        clip_vision: ClipVision | None = None,
        weight: Weight = 1.0,
        noise: float = 0.0,
        weight_type: str = "original",
        start_at: float = 0.0,
        end_at: float = 1.0,
        short_side_tiles: int = 1,
        tile_weight: float = 0.6,
    ) -> io.NodeOutput:
        tiles = cut_legacy(check_images(image), short_side_tiles, tile_weight)
        layers, scaling = layers_and_scaling(weight_type)
        strength = Strength(weight, layers, start_at=start_at, end_at=end_at, scaling=scaling)
        request = Request(Reference(noise=noise), strength)
        return io.NodeOutput(apply_tiles(model, ipadapter, tiles, request, clip_vision).model)


class IPAdapterApplyEncoded(FirstApplyMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApplyEncoded",
            display_name="Apply IPAdapter from Encoded",
            category="ipadapter/old",
            description="For workflows from before March 2024; new ones use IPAdapter Embeds.",
            is_deprecated=True,
            inputs=[
                inputs.ipadapter(),
                inputs.embeds("embeds", "Encoded references, with their negative in the same tensor or without."),
                inputs.model(),
                inputs.weight(),
                inputs.weight_type(inputs.FIRST_WEIGHT_TYPES),
                *inputs.active_range(),
                inputs.unfold_batch(),
                inputs.attn_mask(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def run(
        cls,
        ipadapter: Adapter,
        embeds: Tensor,
        model: Model,
        weight: Weight = 1.0,
        weight_type: str = "original",
        start_at: float = 0.0,
        end_at: float = 1.0,
        unfold_batch: bool = False,
        attn_mask: Tensor | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        layers, scaling = layers_and_scaling(weight_type)
        strength = Strength(
            weight, layers, schedule=schedule, start_at=start_at, end_at=end_at, scaling=scaling, mask=attn_mask
        )
        request = Request(Reference(embeds=embeds, per_frame=unfold_batch), strength)
        return AppliedOutput(apply_adapter(model, ipadapter, [request]))


class IPAdapterBatchEmbeds(BatchMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterBatchEmbeds",
            display_name="IPAdapter Batch Embeds",
            category="ipadapter/embeds",
            description="Two encoded references side by side. New workflows: IPAdapter Combine Embeds with concat.",
            is_deprecated=True,
            inputs=[inputs.embeds("embed1"), inputs.embeds("embed2")],
            outputs=[inputs.EmbedsType.Output(display_name="EMBEDS", tooltip="Both in one.")],
        )

    @classmethod
    def run(cls, embed1: Tensor, embed2: Tensor) -> io.NodeOutput:
        return io.NodeOutput(join([embed1, embed2]))


class InsightFaceLoader(FirstLoadInsightFaceMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InsightFaceLoader",
            display_name="Load InsightFace",
            category="ipadapter/loaders",
            description="Loads the pack buffalo_l. IPAdapter InsightFace Loader offers every pack.",
            inputs=[provider_input()],
            outputs=[insightface_output()],
        )

    @classmethod
    def run(cls, provider: str) -> io.NodeOutput:
        return io.NodeOutput(load_face_models(provider))


NODES: list[type[io.ComfyNode]] = [
    IPAdapterTilesMasked, IPAdapterApplyEncoded, IPAdapterBatchEmbeds, InsightFaceLoader,
]  # fmt: skip
