"""Compatibility only: older forms of nodes, which published workflows contain under our ids and which cannot run.

ComfyUI's own message would only list the missing inputs; ours names the older form and its replacement. A prompt still
has the links of sockets that the node no longer has, so `validate_inputs` has parameters for those sockets.
"""

from collections.abc import Mapping

import comfy_api.latest
import comfy_execution.validation  # type: ignore[import-not-found]
from comfy_api.latest import io

from server import PromptServer  # type: ignore[import-not-found]

from ...doctor.host_needs import REPLACEMENT
from ..host import lacks
from ..inputs import limits_of
from ..notices import say_on_node
from .appended import Unchecked

UNLINKED = "not linked"  # default of a socket in `validate_inputs`: ComfyUI passes None for every link

FIRST_ENCODER = (
    "this is the encoder of October 2023 to March 2024, which took image_1 to image_4 without an adapter. Add a new "
    "IPAdapter Encoder for each picture, with the adapter on ipadapter and the picture on image; its weight is the "
    "square of the old one. Join them with IPAdapter Combine Embeds (concat) before the node that applies them. "
    "In place of noise, encode what an IPAdapter Noise node makes and connect it to neg_embed of IPAdapter Embeds."
)
CLIP_VISION_OUTPUT = (
    "this is the node of September 2023, which took clip_vision_output. Connect Load CLIP Vision to clip_vision and "
    "the picture to image: the node encodes it by itself."
)
EARLIER_PACK = (
    "this is the node of another pack, laksjdjf's IPAdapter-ComfyUI, which had the same id and loaded the adapter "
    "itself (model_name, dtype). Use IPAdapter Model Loader with that file and IPAdapter Advanced: model, image and "
    "clip_vision as before, its mask on attn_mask."
)


class UncheckedFloat(io.Float.Input):
    """A number that ComfyUI does not convert: it would turn the `false` of an earlier form's switch into 0.0."""

    def get_io_type(self) -> str:
        return Unchecked(io.Float.io_type)


def without_flag(value: float | bool) -> float:
    """The number. For true or false, of a switch that an earlier form had here: 0.0, and a note on the node."""
    if isinstance(value, bool):
        say_on_node(f"Not used: {value}, left over from a switch of an earlier form of this node.")
        return 0.0
    return float(value)


def wrong_number(item: io.Float.Input, value: object) -> str | None:
    """An error if the value is not a number within the input's limits, in place of ComfyUI's check; None if it is."""
    low, high = limits_of(item)
    try:
        number = float(value)  # pyright: ignore[reportArgumentType] - TypeError for others
    except (TypeError, ValueError, OverflowError):
        return f"{item.id} is {value!r:.80}, which is not a number"
    if not low <= number <= high:
        return f"{item.id} is {number:g}; it must be between {low:g} and {high:g}"
    return None


def wrong_link(node: type[io.ComfyNode], received: Mapping[str, str], more: Mapping[str, str]) -> str | None:
    """An error for the first link whose type neither its socket nor `more` allows; None if all links fit.

    If `validate_inputs` of a node has the parameter `input_types`, ComfyUI does not check the types of links itself.
    """
    sections = node.INPUT_TYPES()
    types = {name: spec[0] for part in ("required", "optional") for name, spec in sections.get(part, {}).items()}
    for name, type in received.items():
        if not comfy_execution.validation.validate_node_input(type, types[name]) and type != more.get(name):
            return f"{name} takes {types[name]}, and {type} is connected"
    return None


async def register_removed_nodes() -> None:
    """Register ComfyUI's own nodes as replacements of our removed nodes, if a server is running."""
    if getattr(PromptServer, "instance", None) is None or lacks(REPLACEMENT):
        return
    await comfy_api.latest.ComfyAPI().node_replacement.register(
        io.NodeReplace(
            old_node_id="IPAdapterCLIPVisionEncode",
            new_node_id="CLIPVisionEncode",
            input_mapping=[
                {"new_id": "clip_vision", "old_id": "clip_vision"},
                {"new_id": "image", "old_id": "image"},
                {"new_id": "crop", "set_value": "center"},
            ],
            output_mapping=[{"new_idx": 0, "old_idx": 0}],
        )
    )
