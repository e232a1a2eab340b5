"""Apply a picture in finer detail: encoded in tiles and averaged."""

from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AppliedOutput
from .applying.apply import Request, Strength, apply_adapter
from .applying.encoding import Reference
from .old.methods import ApplyMethod
from .sockets import Adapter, ClipVision, Model, Weight


class IPAdapterClipVisionEnhancer(ApplyMethod):
    display_name = "IPAdapter ClipVision Enhancer"
    enhance_ratio = 1.0

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.__name__,
            display_name=cls.display_name,
            category="ipadapter/dev",
            description="Lets the encoder look at the reference in tiles too, so that finer detail gets through.",
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image(),
                inputs.weight(maximum=5),
                inputs.weight_type(),
                *([] if cls.per_frame else [inputs.combine_embeds()]),
                *inputs.active_range(),
                inputs.embeds_scaling(),
                inputs.enhance_tiles(),
                inputs.enhance_ratio(cls.enhance_ratio),
                *([inputs.encode_batch_size()] if cls.per_frame else []),
                *inputs.optional_images(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
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
        embeds_scaling: str = "V only",
        enhance_tiles: int = 2,
        enhance_ratio: float = 1.0,
        encode_batch_size: int = 0,
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        reference = Reference(
            image,
            negative=image_negative,
            combine=combine_embeds,
            per_frame=cls.per_frame,
            encode_batch_size=encode_batch_size,
            tiles=enhance_tiles,
            tile_ratio=enhance_ratio,
        )
        strength = Strength(
            weight,
            weight_type,
            schedule=schedule,
            start_at=start_at,
            end_at=end_at,
            scaling=embeds_scaling,
            mask=attn_mask,
        )
        return AppliedOutput(apply_adapter(model, ipadapter, [Request(reference, strength)], clip_vision))


class IPAdapterClipVisionEnhancerBatch(IPAdapterClipVisionEnhancer):
    display_name, per_frame, enhance_ratio = "IPAdapter ClipVision Enhancer Batch", True, 0.5


NODES: list[type[io.ComfyNode]] = [IPAdapterClipVisionEnhancer, IPAdapterClipVisionEnhancerBatch]
