"""Style from one picture, composition from another, or one of the two alone."""

from typing import ClassVar

from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AppliedOutput
from .applying.apply import Request, Strength, apply_adapter
from .applying.encoding import Reference
from .old.methods import ApplyMethod
from .sockets import Adapter, ClipVision, Model, Weight


class IPAdapterStyleComposition(ApplyMethod):
    combines = True

    @classmethod
    def define_schema(cls) -> io.Schema:
        batch = "" if cls.combines else " Batch"
        return io.Schema(
            node_id=cls.__name__,
            display_name=f"IPAdapter Style & Composition{batch} SDXL",
            category="ipadapter/style_composition",
            search_aliases=["style transfer", "style reference", "composition", "风格迁移"],
            description="Style from one picture and composition from another.",
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image("image_style", "Picture whose colours, texture and manner are followed."),
                inputs.image("image_composition", "Picture whose layout is followed."),
                inputs.weight("weight_style", maximum=5, tooltip="How strongly the style reference acts."),
                inputs.weight("weight_composition", maximum=5, tooltip="How strongly the composition reference acts."),
                inputs.expand_style(),
                *([inputs.combine_embeds("average")] if cls.combines else []),
                *inputs.active_range(),
                inputs.embeds_scaling(),
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
        image_style: Tensor,
        image_composition: Tensor,
        weight_style: Weight = 1.0,
        weight_composition: float = 1.0,
        expand_style: bool = False,
        combine_embeds: str = "concat",
        start_at: float = 0.0,
        end_at: float = 1.0,
        embeds_scaling: str = "V only",
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        reference = Reference(
            image_style, image_composition, image_negative, combine=combine_embeds, per_frame=cls.per_frame
        )
        strength = Strength(
            weight_style,
            "strong style and composition" if expand_style else "style and composition",
            weight_composition=weight_composition,
            schedule=schedule,
            start_at=start_at,
            end_at=end_at,
            scaling=embeds_scaling,
            mask=attn_mask,
        )
        return AppliedOutput(apply_adapter(model, ipadapter, [Request(reference, strength)], clip_vision))


class IPAdapterStyleCompositionBatch(IPAdapterStyleComposition):
    per_frame, combines = True, False


class PreciseNode(ApplyMethod):
    """Base of the nodes that follow the style of a picture and push its composition away, or the reverse."""

    display_name: ClassVar[str]
    description: ClassVar[str]

    @classmethod
    def schema_with(cls, boost: io.Input) -> io.Schema:
        return io.Schema(
            node_id=cls.__name__,
            display_name=cls.display_name,
            category="ipadapter/style_composition",
            search_aliases=["style transfer", "style reference", "composition", "风格迁移"],
            description=cls.description,
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image(),
                inputs.weight(maximum=5),
                boost,
                inputs.combine_embeds(),
                *inputs.active_range(),
                inputs.embeds_scaling(),
                *inputs.optional_images(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )


class IPAdapterPreciseStyleTransfer(PreciseNode):
    display_name = "IPAdapter Precise Style Transfer"
    description = "Only the style of a picture: its composition is pushed away by style_boost."

    @classmethod
    def define_schema(cls) -> io.Schema:
        return cls.schema_with(inputs.style_boost())

    @classmethod
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        image: Tensor,
        weight: Weight = 1.0,
        style_boost: float = 1.0,
        combine_embeds: str = "concat",
        start_at: float = 0.0,
        end_at: float = 1.0,
        embeds_scaling: str = "V only",
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        reference = Reference(image, negative=image_negative, combine=combine_embeds, per_frame=cls.per_frame)
        strength = Strength(
            weight,
            "style transfer precise",
            boost=style_boost,
            schedule=schedule,
            start_at=start_at,
            end_at=end_at,
            scaling=embeds_scaling,
            mask=attn_mask,
        )
        return AppliedOutput(apply_adapter(model, ipadapter, [Request(reference, strength)], clip_vision))


class IPAdapterPreciseStyleTransferBatch(IPAdapterPreciseStyleTransfer):
    display_name, per_frame = "IPAdapter Precise Style Transfer Batch", True


class IPAdapterPreciseComposition(PreciseNode):
    display_name = "IPAdapter Precise Composition"
    description = "Only the composition of a picture: its style is pushed away by composition_boost."

    @classmethod
    def define_schema(cls) -> io.Schema:
        return cls.schema_with(inputs.composition_boost())

    @classmethod
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        image: Tensor,
        weight: Weight = 1.0,
        composition_boost: float = 0.0,
        combine_embeds: str = "concat",
        start_at: float = 0.0,
        end_at: float = 1.0,
        embeds_scaling: str = "V only",
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        reference = Reference(image, negative=image_negative, combine=combine_embeds, per_frame=cls.per_frame)
        strength = Strength(
            weight,
            "composition precise",
            boost=composition_boost,
            schedule=schedule,
            start_at=start_at,
            end_at=end_at,
            scaling=embeds_scaling,
            mask=attn_mask,
        )
        return AppliedOutput(apply_adapter(model, ipadapter, [Request(reference, strength)], clip_vision))


class IPAdapterPreciseCompositionBatch(IPAdapterPreciseComposition):
    display_name, per_frame = "IPAdapter Precise Composition Batch", True


NODES: list[type[io.ComfyNode]] = [
    IPAdapterStyleComposition, IPAdapterStyleCompositionBatch,
    IPAdapterPreciseStyleTransfer, IPAdapterPreciseStyleTransferBatch,
    IPAdapterPreciseComposition, IPAdapterPreciseCompositionBatch,
]  # fmt: skip
