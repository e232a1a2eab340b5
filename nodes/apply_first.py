"""The apply node of 2023, whose weight type also says where in the attention the weight acts."""

from collections.abc import Mapping

from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AppliedOutput
from .applying.apply import Request, Strength, apply_adapter
from .applying.encoding import Reference
from .old.forms import CLIP_VISION_OUTPUT, UNLINKED, wrong_link
from .old.methods import FirstApplyMethod
from .old.names import layers_and_scaling
from .sockets import Adapter, ClipVision, FaceModels, Model, Weight


class IPAdapterApply(FirstApplyMethod):
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
    def run(
        cls,
        ipadapter: Adapter,
        image: Tensor,
        model: Model,
        clip_vision: ClipVision | FaceModels = None,
        weight: Weight = 1.0,
        noise: float = 0.0,
        weight_type: str = "original",
        start_at: float = 0.0,
        end_at: float = 1.0,
        unfold_batch: bool = False,
        attn_mask: Tensor | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        layers, scaling = layers_and_scaling(weight_type)
        request = Request(
            Reference(image, noise=noise, per_frame=unfold_batch),
            Strength(
                weight, layers, schedule=schedule, start_at=start_at, end_at=end_at, scaling=scaling, mask=attn_mask
            ),
        )
        if hasattr(clip_vision, "encode_image"):
            return AppliedOutput(apply_adapter(model, ipadapter, [request], clip_vision))
        # In December 2023 the face detector was connected to clip_vision.
        return AppliedOutput(apply_adapter(model, ipadapter, [request], insightface=clip_vision))

    @classmethod
    def validate_inputs(
        cls,
        weight_type: str | None = None,
        clip_vision_output: object = UNLINKED,
        input_types: Mapping[str, str] | None = None,
    ) -> bool | str:
        if clip_vision_output != UNLINKED:
            return CLIP_VISION_OUTPUT
        wrong = wrong_link(cls, input_types or {}, {"clip_vision": "INSIGHTFACE"})
        return wrong or super().validate_inputs(weight_type)


NODES: list[type[io.ComfyNode]] = [IPAdapterApply]
