"""Apply a picture to a model: the nodes that follow one reference or several."""

from typing import Any

from comfy_api.latest import io

from ..weight_schedules.layers import WEIGHT_TYPES
from . import inputs
from .apply_base import LEGACY_TYPES, ApplyNode, with_legacy_type
from .applying.apply import Request

APPLY_TYPES = (*LEGACY_TYPES, *(name for name in WEIGHT_TYPES if name not in LEGACY_TYPES))
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
            search_aliases=["ip-adapter", "image prompt", "reference image", "style reference"],
            inputs=[
                inputs.ipadapter(),
                inputs.clip_vision(optional=False),
                inputs.image(),
                inputs.model(),
                inputs.weight(),
                inputs.noise(),
                inputs.weight_type(APPLY_TYPES),
                *inputs.active_range(),
                inputs.unfold_batch(),
                inputs.attn_mask(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def requests(cls, **arguments: Any) -> list[Request]:
        return super().requests(**with_legacy_type(arguments))


class IPAdapter(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapter",
            display_name="IPAdapter",
            category="ipadapter",
            description="The simplest apply node: a unified loader, a picture and a weight.",
            search_aliases=["ip-adapter", "image prompt"],
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
    def requests(cls, **arguments: Any) -> list[Request]:
        name = inputs.current_name(arguments.get("weight_type", "standard"))
        return super().requests(**arguments | {"weight_type": SIMPLE_TYPES.get(name, name)})


class IPAdapterAdvanced(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterAdvanced",
            display_name="IPAdapter Advanced",
            category="ipadapter",
            description="Apply one picture or several, with a choice of layers, of how pictures mix and of a negative.",
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


class IPAdapterBatch(ApplyNode):
    per_frame = True

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterBatch",
            display_name="IPAdapter Batch (Adv.)",
            category="ipadapter",
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
    def requests(cls, **arguments: Any) -> list[Request]:
        params = arguments.pop("ipadapter_params")
        regions = [dict(zip(params, values, strict=True)) for values in zip(*params.values(), strict=True)]
        requests = []
        for region in regions:
            if region["image"] is not None:
                requests += super().requests(**region, **arguments)
        return requests


NODES: list[type[io.ComfyNode]] = [
    IPAdapterApply, IPAdapter, IPAdapterAdvanced, IPAdapterBatch, IPAdapterMS, IPAdapterFromParams,
]  # fmt: skip
