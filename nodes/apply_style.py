"""Style from one picture, composition from another, or one of the two alone."""

from dataclasses import replace
from typing import Any, ClassVar

from comfy_api.latest import io
from torch import Tensor

from . import inputs
from .apply_base import ApplyNode, strength_of
from .applying.apply import Request
from .applying.encoding import Reference


class IPAdapterStyleComposition(ApplyNode):
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
    def request(
        cls,
        image_style: Tensor | None = None,
        image_composition: Tensor | None = None,
        weight_style: float = 1.0,
        weight_composition: float = 1.0,
        expand_style: bool = False,
        combine_embeds: str = "concat",
        image_negative: Tensor | None = None,
        **strength: Any,
    ) -> Request:
        weight_type = "strong style and composition" if expand_style else "style and composition"
        reference = Reference(
            image_style, image_composition, image_negative, combine=combine_embeds, per_frame=cls.per_frame
        )
        acts = strength_of(weight=weight_style, weight_type=weight_type, **strength)
        return Request(reference, replace(acts, weight_composition=weight_composition))


class IPAdapterStyleCompositionBatch(IPAdapterStyleComposition):
    per_frame, combines = True, False


class PreciseNode(ApplyNode):
    """Base of the nodes that follow one side of a picture, style or composition, and push the other one away."""

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

    @classmethod
    def precise(
        cls,
        weight_type: str,
        boost: float,
        image: Tensor | None = None,
        combine_embeds: str = "concat",
        image_negative: Tensor | None = None,
        **strength: Any,
    ) -> Request:
        reference = Reference(image, negative=image_negative, combine=combine_embeds, per_frame=cls.per_frame)
        return Request(reference, replace(strength_of(weight_type=weight_type, **strength), boost=boost))


class IPAdapterPreciseStyleTransfer(PreciseNode):
    display_name = "IPAdapter Precise Style Transfer"
    description = "Only the style of a picture: its composition is pushed away by style_boost."

    @classmethod
    def define_schema(cls) -> io.Schema:
        return cls.schema_with(inputs.style_boost())

    @classmethod
    def request(cls, image: Tensor | None = None, style_boost: float = 1.0, **rest: Any) -> Request:
        return cls.precise("style transfer precise", style_boost, image, **rest)


class IPAdapterPreciseStyleTransferBatch(IPAdapterPreciseStyleTransfer):
    display_name, per_frame = "IPAdapter Precise Style Transfer Batch", True


class IPAdapterPreciseComposition(PreciseNode):
    display_name = "IPAdapter Precise Composition"
    description = "Only the composition of a picture: its style is pushed away by composition_boost."

    @classmethod
    def define_schema(cls) -> io.Schema:
        return cls.schema_with(inputs.composition_boost())

    @classmethod
    def request(cls, image: Tensor | None = None, composition_boost: float = 0.0, **rest: Any) -> Request:
        return cls.precise("composition precise", composition_boost, image, **rest)


class IPAdapterPreciseCompositionBatch(IPAdapterPreciseComposition):
    display_name, per_frame = "IPAdapter Precise Composition Batch", True


NODES: list[type[io.ComfyNode]] = [
    IPAdapterStyleComposition, IPAdapterStyleCompositionBatch,
    IPAdapterPreciseStyleTransfer, IPAdapterPreciseStyleTransferBatch,
    IPAdapterPreciseComposition, IPAdapterPreciseCompositionBatch,
]  # fmt: skip
