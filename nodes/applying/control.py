"""Add a ControlNet that reads a face's tokens to conditionings: the second half of InstantID."""

from collections.abc import Mapping, Sequence
from typing import Any

from comfy.controlnet import ControlBase, ControlNet
from torch import Tensor

from ...doctor.host_needs import INSTANTID
from ...ipadapter.errors import AdapterError, ModelMismatchError
from ..host import refuse_changed_host
from ..host_types import HostModule, OwnOptions
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
    """Conditionings with one more ControlNet in their chain, whose cross-attentions read a face's tokens, not the text.

    Entries with the same chain share the new ControlNet, so that ComfyUI can join both branches in one model call.

    Args:
        net: a CONTROL_NET for SDXL.
        picture: drawings of eyes, nose and mouth, (n, h, w, 1, 3 or 4).
        tokens: those of the positive and of the negative branch, (1, t, 2048) each.
        active: sampling percents at which the ControlNet begins and ends to act.
        mask: the region in which it acts, (m, h, w); None for the whole picture.

    Raises:
        AdapterError: `net` is not a ControlNet, or ComfyUI lacks what a ControlNet of InstantID needs.
        ModelMismatchError: `net` was made for another family of models.
    """
    original = checked_control_net(net)
    refuse_changed_host("ControlNets of InstantID", INSTANTID)
    if not strength:
        return list(conditionings)
    hint = picture[..., :3].expand(-1, -1, -1, 3).movedim(-1, 1)
    made: dict[ControlBase | None, FaceControl] = {}

    def controlled(settings: OwnOptions) -> OwnOptions:
        before = settings.get("control")
        if before not in made:
            own = original.copy().set_cond_hint(hint, strength, active)
            made[before] = FaceControl(own, tokens, mask)
            made[before].set_previous_controlnet(before)
        return {**settings, "control": made[before], "control_apply_to_uncond": False}

    return [[[text, controlled(settings)] for text, settings in conditioning] for conditioning in conditionings]


def checked_control_net(net: object) -> ControlNet:
    """The ControlNet, if its cross-attentions are those of an SDXL's.

    A control LoRA, which has no network before sampling, is not looked into. AdapterError if `net` is not a ControlNet,
    ModelMismatchError if it was made for another family of models.
    """
    if not isinstance(net, ControlNet):
        raise AdapterError(
            f"control_net needs a ControlNet from Load ControlNet Model, and got a {type(net).__name__}."
        )
    network: HostModule = net.control_model
    if network is None:
        return net
    attentions = (layer.attn2 for layer in network.modules() if hasattr(layer, "attn2"))
    width = next((attention.to_k.weight.shape[1] for attention in attentions), 0)
    if width != SDXL_TEXT:
        reads = f"reads text {width} wide" if width else "has no cross-attentions that could read a face"
        raise ModelMismatchError(
            f"The ControlNet {reads}, and InstantID's is one for SDXL ({SDXL_TEXT} wide): load the file of "
            "InstantX/InstantID's folder ControlNetModel."
        )
    return net
