"""What all apply nodes share: each says in `request` which reference its inputs ask for, and how strongly it acts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.schedule import Schedule
from .applying.apply import Applied, Request, Strength, apply_adapter
from .old.names import AcceptsRenamed, current_name, layers_and_scaling


def strength_of(
    weight: float | Sequence[float] = 1.0,
    weight_type: str = "linear",
    start_at: float = 0.0,
    end_at: float = 1.0,
    embeds_scaling: str = "V only",
    attn_mask: Tensor | None = None,
    schedule: Schedule | None = None,
) -> Strength:
    """The strength that the inputs of nearly every apply node ask for."""
    return Strength(
        weight=weight,
        weight_type=current_name(weight_type),
        start_at=start_at,
        end_at=end_at,
        scaling=embeds_scaling,
        mask=attn_mask,
        schedule=schedule,
    )


def first_strength_of(weight_type: str = "original", **inputs: Any) -> Strength:
    """The strength that the first apply nodes ask for: their weight type also says where the weight acts."""
    layers, scaling = layers_and_scaling(weight_type)
    return strength_of(weight_type=layers, embeds_scaling=scaling, **inputs)


def connected(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that have a value: None stands for one that is not connected."""
    return {name: value for name, value in inputs.items() if value is not None}


class ApplyNode(AcceptsRenamed):
    """Base of the apply nodes. A new one is a schema and a `request`; `per_frame` nodes use one reference per frame of
    the batch.
    """

    per_frame: ClassVar[bool] = False

    @classmethod
    def request(cls, **inputs: Any) -> Request:
        """What the node's inputs ask for; one that is not connected is left out."""
        raise NotImplementedError

    @classmethod
    def requests(cls, **inputs: Any) -> list[Request]:
        """One request per application of the adapter."""
        return [cls.request(**inputs)]

    @classmethod
    def apply(
        cls, model: ModelPatcher, ipadapter: Any, clip_vision: Any = None, insightface: Any = None, **inputs: Any
    ) -> Applied:
        """The model with what the node asks for, None for what is not connected."""
        return apply_adapter(model, ipadapter, cls.requests(**connected(inputs)), clip_vision, insightface)

    @classmethod
    def execute(
        cls, model: ModelPatcher, ipadapter: Any, clip_vision: Any = None, insightface: Any = None, **inputs: Any
    ) -> io.NodeOutput:
        return io.NodeOutput(cls.apply(model, ipadapter, clip_vision, insightface, **inputs).model)
