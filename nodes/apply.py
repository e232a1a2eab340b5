"""Apply a picture to a model: the nodes that follow one reference or several."""

from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AppliedOutput
from .applying.apply import Request, Strength, apply_adapter
from .applying.encoding import Reference
from .old.forms import EARLIER_PACK, UNLINKED
from .old.methods import ApplyMethod, OwnApplyMethod
from .old.names import current_name
from .region_lists import Params, regions_of
from .sockets import Adapter, ClipVision, FaceModels, Model, Weight

SIMPLE_TYPES = {"standard": "linear", "prompt is more important": "ease out", "style transfer": "style transfer"}


class IPAdapter(OwnApplyMethod):
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
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        image: Tensor,
        weight: Weight = 1.0,
        start_at: float = 0.0,
        end_at: float = 1.0,
        weight_type: str = "standard",
        attn_mask: Tensor | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        layers = SIMPLE_TYPES.get(weight_type, weight_type)
        strength = Strength(weight, layers, schedule=schedule, start_at=start_at, end_at=end_at, mask=attn_mask)
        return AppliedOutput(apply_adapter(model, ipadapter, [Request(Reference(image), strength)]))

    @classmethod
    def validate_inputs(
        cls, weight_type: str | None = None, ipadapter: object = UNLINKED, clip_vision: object = UNLINKED
    ) -> bool | str:
        if ipadapter == UNLINKED and clip_vision != UNLINKED:
            return EARLIER_PACK
        return super().validate_inputs(weight_type)


class IPAdapterAdvanced(ApplyMethod):
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
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        reference = Reference(image, negative=image_negative, combine=combine_embeds)
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


class IPAdapterBatch(ApplyMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterBatch",
            display_name="IPAdapter Batch (Adv.)",
            category="ipadapter/advanced",
            description="The first picture of the batch acts on the first latent, and so on, for animations.",
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
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        image: Tensor,
        weight: Weight = 1.0,
        weight_type: str = "linear",
        start_at: float = 0.0,
        end_at: float = 1.0,
        embeds_scaling: str = "V only",
        encode_batch_size: int = 0,
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        reference = Reference(image, negative=image_negative, per_frame=True, encode_batch_size=encode_batch_size)
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


class IPAdapterMS(ApplyMethod):
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
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        image: Tensor,
        weight: Weight = 1.0,
        weight_faceidv2: float | None = None,
        weight_type: str = "linear",
        combine_embeds: str = "concat",
        start_at: float = 0.0,
        end_at: float = 1.0,
        embeds_scaling: str = "V only",
        layer_weights: str = "",
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        insightface: FaceModels = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        reference = Reference(image, negative=image_negative, combine=combine_embeds, face_weight=weight_faceidv2)
        strength = Strength(
            weight,
            weight_type,
            layer_weights=layer_weights,
            schedule=schedule,
            start_at=start_at,
            end_at=end_at,
            scaling=embeds_scaling,
            mask=attn_mask,
        )
        return AppliedOutput(apply_adapter(model, ipadapter, [Request(reference, strength)], clip_vision, insightface))


class IPAdapterFromParams(ApplyMethod):
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
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        ipadapter_params: Params,
        combine_embeds: str = "concat",
        embeds_scaling: str = "V only",
        image_negative: Tensor | None = None,
        clip_vision: ClipVision | None = None,
    ) -> io.NodeOutput:
        requests = [
            Request(
                Reference(region.image, negative=image_negative, combine=combine_embeds),
                Strength(
                    region.weight,
                    current_name(region.weight_type),
                    start_at=region.start_at,
                    end_at=region.end_at,
                    scaling=embeds_scaling,
                    mask=region.attn_mask,
                ),
            )
            for region in regions_of(ipadapter_params)
        ]
        return AppliedOutput(apply_adapter(model, ipadapter, requests, clip_vision))


NODES: list[type[io.ComfyNode]] = [
    IPAdapter, IPAdapterAdvanced, IPAdapterBatch, IPAdapterMS, IPAdapterFromParams,
]  # fmt: skip
