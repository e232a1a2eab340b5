"""Let a ControlNet see a face: the conditionings' half of InstantID."""

from collections.abc import Mapping, Sequence
from typing import Any

from comfy.controlnet import ControlBase
from torch import Tensor

from ...ipadapter.errors import AdapterError, ModelMismatchError
from ..host_types import OwnOptions
from ..sampling.face_control import FaceControl

ConditioningList = list[list[Any]]  # a CONDITIONING: text tokens and settings of each entry
SDXL_TEXT = 2048


def with_face_control(
    conditionings: Sequence[ConditioningList],
    net: object,
    picture: Tensor,
    tokens: Mapping[str, Tensor],
    strength: float,
    active: tuple[float, float],
    mask: Tensor | None = None,
) -> list[ConditioningList]:
    """Conditionings with one more ControlNet in their chain, which sees a face's tokens in place of the text.

    Entries that had the same chain share the new ControlNet, so that both branches stay in one model call.

    Args:
        net: a CONTROL_NET for SDXL.
        picture: where eyes, nose and mouth are, (n, h, w, 3).
        tokens: those of the positive and of the negative branch, (1, t, 2048) each.
        active: sampling percents at which the ControlNet begins and ends to act.
        mask: where it acts, (m, h, w); everywhere without one.

    Raises:
        AdapterError: `net` is no ControlNet.
        ModelMismatchError: it was made for another family of models.
    """
    check_control_net(net)
    if not strength:
        return list(conditionings)
    original: Any = net  # ComfyUI's ControlBase has no `copy`; each of its ControlNets has
    made: dict[ControlBase | None, FaceControl] = {}

    def controlled(settings: OwnOptions) -> OwnOptions:
        before = settings.get("control")
        if before not in made:
            own = original.copy().set_cond_hint(picture.movedim(-1, 1), strength, active)
            made[before] = FaceControl(own, tokens, mask)
            made[before].set_previous_controlnet(before)
        return {**settings, "control": made[before], "control_apply_to_uncond": False}

    return [[[text, controlled(settings)] for text, settings in conditioning] for conditioning in conditionings]


def check_control_net(net: object) -> None:
    """Refuse what is no ControlNet for SDXL, as far as its network tells."""
    if not isinstance(net, ControlBase):
        raise AdapterError(
            f"control_net needs a ControlNet from Load ControlNet Model, and got a {type(net).__name__}."
        )
    layers = getattr(getattr(net, "control_model", None), "modules", list)()
    width = next((layer.attn2.to_k.weight.shape[1] for layer in layers if hasattr(layer, "attn2")), SDXL_TEXT)
    if width != SDXL_TEXT:
        raise ModelMismatchError(
            f"The ControlNet reads text {width} wide, and InstantID's is one for SDXL ({SDXL_TEXT} wide): load the "
            "file of InstantX/InstantID's folder ControlNetModel."
        )
