"""Rename the LoRA matrices (down and up halves) inside a FaceID checkpoint to names that a LoRA loader reads.

A FaceID checkpoint holds `{i}.to_{q,k,v,out}_lora.{down,up}.weight` for every attention of the UNet, self-attentions at
even i and cross-attentions at odd i, in the order down blocks, up blocks, middle. An attention computes
W x + up(down(x)), without an alpha (tencent-ailab/IP-Adapter, attention_processor_faceid.py).
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from .errors import ModelMismatchError
from .matching import match_keys
from .sites import Address, find_sites

KEY = re.compile(r"(\d+)\.(to_(?:q|k|v|out))_lora\.(down|up)\.weight")
LINEARS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}
BLOCK = re.compile(r"(?:(input|output)_blocks\.(\d+)|middle_block)\..*transformer_blocks\.(\d+)")


def lora_state_dict(lora: Mapping[str, Tensor], unet: nn.Module) -> dict[str, Tensor]:
    """The halves under the keys `diffusion_model.<module>.lora_{down,up}.weight`, with ComfyUI's names of modules.

    Halves are (rank, width) for down and (width, rank) for up. Halves of layers that a pruned UNet lacks are left out.

    Raises:
        ModelMismatchError: a key is not that of a half, or the UNet has other layers or widths.
    """
    modules = _modules_by_number(lora, unet)
    named: dict[str, Tensor] = {}
    for key, half in lora.items():
        if not (match := KEY.fullmatch(key)):
            raise ModelMismatchError(f"Not a LoRA half of a FaceID checkpoint: {key}.")
        number, linear, direction = match.groups()
        if int(number) not in modules:
            continue  # a layer that a pruned UNet does not have
        module = f"{modules[int(number)]}.{LINEARS[linear]}"
        axis = 1 if direction == "down" else 0
        if half.shape[axis] != (width := unet.get_parameter(f"{module}.weight").shape[axis]):
            raise ModelMismatchError(
                f"The FaceID LoRA does not fit this model: {key} is {tuple(half.shape)} and {module} is {width} wide. "
                "Use the FaceID adapter of the model's family (SD1.5 or SDXL)."
            )
        named[f"diffusion_model.{module}.lora_{direction}.weight"] = half
    return named


def _modules_by_number(lora: Mapping[str, Tensor], unet: nn.Module) -> dict[int, str]:
    """The name of the UNet's attention module for every number in the checkpoint."""
    attentions = find_sites(unet)
    matches = {key: match for key in lora if (match := KEY.fullmatch(key))}
    channels = {int(m[1]): len(lora[key]) for key, m in matches.items() if m.group(2, 3) == ("to_q", "up")}
    names = _transformer_blocks(unet)
    modules: dict[int, str] = {}
    crossing = {number: width for number, width in channels.items() if number % 2}
    for attention, number in zip(attentions, match_keys(attentions, crossing), strict=True):
        modules[number] = f"{names[attention.address]}.attn2"
        modules[number - 1] = f"{names[attention.address]}.attn1"
    return modules


def _transformer_blocks(unet: nn.Module) -> dict[Address, str]:
    matches = {name: BLOCK.fullmatch(name) for name, _ in unet.named_modules()}
    return {(m[1] or "middle", int(m[2] or 0), int(m[3])): name for name, m in matches.items() if m}
