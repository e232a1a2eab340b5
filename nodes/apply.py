"""Apply a picture to a model: the nodes that follow one reference or several."""

from collections.abc import Sequence
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.layers import WEIGHT_TYPES
from . import inputs
from .encoding import Reference
from .pipeline import LEGACY_TYPES, Strength, apply_adapter

APPLY_TYPES = (*LEGACY_TYPES, *(name for name in WEIGHT_TYPES if name not in LEGACY_TYPES))


class IPAdapterApply(inputs.AcceptsRenamed):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApply",
            display_name="Apply IPAdapter",
            category="ipadapter",
            description=(
                "The picture that you connect becomes a prompt: its style and content steer what the model "
                "draws, beside the text."
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
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def execute(
        cls,
        ipadapter: Any,
        clip_vision: Any,
        image: Tensor,
        model: ModelPatcher,
        weight: float | Sequence[float],
        noise: float,
        weight_type: str,
        start_at: float,
        end_at: float,
        unfold_batch: bool = False,
        attn_mask: Tensor | None = None,
    ) -> io.NodeOutput:
        reference = Reference(image, noise=noise, per_frame=unfold_batch)
        strength = Strength(weight, **legacy_type(weight_type), start_at=start_at, end_at=end_at, mask=attn_mask)
        return io.NodeOutput(apply_adapter(model, ipadapter, reference, strength, clip_vision).model)


def legacy_type(weight_type: str) -> dict[str, str]:
    """The layers and the scaling that a weight type of Apply IPAdapter stands for."""
    if weight_type in LEGACY_TYPES:
        return {"weight_type": "linear", "scaling": LEGACY_TYPES[weight_type]}
    return {"weight_type": inputs.current_name(weight_type), "scaling": "V only"}


NODES: list[type[io.ComfyNode]] = [IPAdapterApply]
