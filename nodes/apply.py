"""Apply a picture to a model: the nodes that follow one reference or several."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from . import inputs
from .apply_base import ApplyNode, first_strength_of, strength_of
from .applying.apply import Request
from .applying.encoding import Reference
from .old.forms import CLIP_VISION_OUTPUT, EARLIER_PACK, UNLINKED, wrong_link
from .old.names import current_name
from .params import Params, regions_of

SIMPLE_TYPES = {"standard": "linear", "prompt is more important": "ease out", "style transfer": "style transfer"}


class IPAdapterApply(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApply",
            display_name="Apply IPAdapter",
            category="ipadapter",
            description=(
                "The connected picture becomes a prompt: its style and content steer the model, beside the text."
            ),
            search_aliases=["ip-adapter", "ipa", "image prompt", "reference image", "style reference", "参考图"],
            inputs=[
                inputs.ipadapter(),
                inputs.clip_vision(optional=False),
                inputs.image(),
                inputs.model(),
                inputs.weight(),
                inputs.noise(),
                inputs.weight_type(inputs.FIRST_WEIGHT_TYPES),
                *inputs.active_range(),
                inputs.unfold_batch(),
                inputs.attn_mask(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def request(
        cls, image: Tensor | None = None, noise: float = 0.0, unfold_batch: bool = False, **strength: Any
    ) -> Request:
        return Request(Reference(image, noise=noise, per_frame=unfold_batch), first_strength_of(**strength))

    @classmethod
    def execute(cls, model: ModelPatcher, ipadapter: Any, clip_vision: Any, **inputs: Any) -> io.NodeOutput:
        if hasattr(clip_vision, "encode_image"):
            return super().execute(model, ipadapter, clip_vision, **inputs)
        return super().execute(model, ipadapter, insightface=clip_vision, **inputs)  # as in December 2023

    @classmethod
    def validate_inputs(
        cls,
        weight_type: str | None = None,
        clip_vision_output: Any = UNLINKED,
        input_types: Mapping[str, str] | None = None,
    ) -> bool | str:
        if clip_vision_output != UNLINKED:
            return CLIP_VISION_OUTPUT
        wrong = wrong_link(cls, input_types or {}, {"clip_vision": "INSIGHTFACE"})
        return wrong or super().validate_inputs(weight_type)


class IPAdapter(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapter",
            display_name="IPAdapter",
            category="ipadapter",
            description="The simplest apply node: a unified loader, a picture and a weight.",
            search_aliases=["ip-adapter", "ipa", "image prompt", "reference", "参考图"],
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image(),
                inputs.weight(),
                *inputs.active_range(),
                inputs.weight_type(inputs.SIMPLE_WEIGHT_TYPES),
                inputs.attn_mask(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def request(cls, image: Tensor | None = None, weight_type: str = "standard", **strength: Any) -> Request:
        name = current_name(weight_type)
        return Request(Reference(image), strength_of(weight_type=SIMPLE_TYPES.get(name, name), **strength))

    @classmethod
    def validate_inputs(
        cls, weight_type: str | None = None, ipadapter: Any = UNLINKED, clip_vision: Any = UNLINKED
    ) -> bool | str:
        if ipadapter == UNLINKED and clip_vision != UNLINKED:
            return EARLIER_PACK
        return super().validate_inputs(weight_type)


class IPAdapterAdvanced(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterAdvanced",
            display_name="IPAdapter Advanced",
            category="ipadapter/advanced",
            description="Apply one picture or several, with a choice of layers, of how pictures mix and of a negative.",
            search_aliases=["ip-adapter", "ipa", "reference", "style transfer", "参考图", "风格迁移"],
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image(),
                inputs.weight(maximum=5),
                inputs.weight_type(),
                inputs.combine_embeds(),
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
        image: Tensor | None = None,
        combine_embeds: str = "concat",
        image_negative: Tensor | None = None,
        **strength: Any,
    ) -> Request:
        return Request(Reference(image, negative=image_negative, combine=combine_embeds), strength_of(**strength))


class IPAdapterBatch(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterBatch",
            display_name="IPAdapter Batch (Adv.)",
            category="ipadapter/advanced",
            description="Each picture of the batch acts on the latent of the same number, for animations.",
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image(),
                inputs.weight(maximum=5),
                inputs.weight_type(),
                *inputs.active_range(),
                inputs.embeds_scaling(),
                inputs.encode_batch_size(),
                *inputs.optional_images(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def request(
        cls,
        image: Tensor | None = None,
        encode_batch_size: int = 0,
        image_negative: Tensor | None = None,
        **strength: Any,
    ) -> Request:
        reference = Reference(image, negative=image_negative, per_frame=True, encode_batch_size=encode_batch_size)
        return Request(reference, strength_of(**strength))


class IPAdapterMS(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterMS",
            display_name="IPAdapter Mad Scientist",
            category="ipadapter/dev",
            description="Give every layer a weight of its own, written as text: 3:2.5, 6:1.0.",
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image(),
                inputs.weight(maximum=5),
                inputs.weight_faceidv2(),
                inputs.weight_type(),
                inputs.combine_embeds(),
                *inputs.active_range(),
                inputs.embeds_scaling(),
                inputs.layer_weights(),
                *inputs.optional_images(faces=True),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def request(
        cls,
        image: Tensor | None = None,
        weight_faceidv2: float | None = None,
        combine_embeds: str = "concat",
        layer_weights: str = "",
        image_negative: Tensor | None = None,
        **strength: Any,
    ) -> Request:
        reference = Reference(image, negative=image_negative, combine=combine_embeds, face_weight=weight_faceidv2)
        return Request(reference, replace(strength_of(**strength), layer_weights=layer_weights))


class IPAdapterFromParams(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterFromParams",
            display_name="IPAdapter from Params",
            category="ipadapter/params",
            description=(
                "Apply every region that IPAdapter Regional Conditioning nodes described, each with its own picture."
            ),
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.params(),
                inputs.combine_embeds(),
                inputs.embeds_scaling(),
                inputs.image_negative(),
                inputs.clip_vision(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def request(
        cls,
        image: Tensor | None = None,
        combine_embeds: str = "concat",
        image_negative: Tensor | None = None,
        **strength: Any,
    ) -> Request:
        return Request(Reference(image, negative=image_negative, combine=combine_embeds), strength_of(**strength))

    @classmethod
    def requests(cls, ipadapter_params: Params, **shared: Any) -> list[Request]:
        return [cls.request(**region, **shared) for region in regions_of(ipadapter_params)]


NODES: list[type[io.ComfyNode]] = [
    IPAdapterApply, IPAdapter, IPAdapterAdvanced, IPAdapterBatch, IPAdapterMS, IPAdapterFromParams,
]  # fmt: skip
