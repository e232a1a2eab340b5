"""Recognise other sorts of model files in the adapters' folders, by a tensor key that only this sort has.

Layouts of PuLID come from guozinan/PuLID (`pulid_v1.bin`, `pulid_v1.1.safetensors`, `pulid_flux_v0.9.x.safetensors`)
and huchenlei/ipadapter_pulid, which has the keys of an IP-Adapter.
"""

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OtherFile:
    """A sort of file: its tensor key, its title, and the node that loads it."""

    key: str  # regular expression, searched in the keys of the tensors
    title: str
    loader: str = ""
    encoder: bool = False  # True: a vision encoder, which belongs in models/clip_vision


SAFE_SUFFIXES = (".safetensors", ".sft")
PICKLE = b"\x80\x02"  # of PyTorch's format before 1.6
_PAGE = "it is a web page: use the page's download link, and log in there if it asks for it"
CONTENTS = {  # first bytes in lower case -> what the file is, and what to do
    b"<!doctype": _PAGE,
    b"<html": _PAGE,
    b"version https://git-lfs": "it is git-lfs' pointer to the file: run git lfs pull, or download the file itself",
    b"gguf": "it is a GGUF model, which no loader of this pack reads: get it as .safetensors",
}
CONTROLNETS, CHECKPOINTS = "a ControlNet loader", "a loader of diffusion models"
# The first match counts, so parts of a model come before whole models.
OTHER_FILES = (
    OtherFile(r"^(pulid_encoder|pulid_ca)\.", "PuLID for Flux", "a PuLID Flux loader"),
    OtherFile(r"^(id_adapter|image_proj)\.id_embedding_mapping\.", "PuLID v1.1 for SDXL", "a PuLID loader"),
    OtherFile(r"^id_adapter(_attn_layers)?\.", "PuLID for SDXL", "a PuLID loader"),
    OtherFile(r"^image_proj\.(body\.0|mapping_0\.0)\.", "PuLID for SDXL", "a PuLID loader"),
    OtherFile(r"^redux_(up|down)\.", "Flux Redux, a style model", "Load Style Model"),
    OtherFile(
        r"processor\.to_k_ip\.\d",
        "an adapter with diffusers' names of a UNet, incomplete or with another projection than IP-Adapter-Art's",
    ),
    OtherFile(r"^blocks\.\d+\.ip_k_proj\.", "an adapter for Anima"),
    OtherFile(r"lora_controlnet", "a control LoRA", CONTROLNETS),
    OtherFile(
        r"^control_model\.|controlnet_|zero_convs\.|input_hint_block\.|^controlnet\.", "a ControlNet", CONTROLNETS
    ),
    OtherFile(r"(^|\.)body\.0\.(in_conv|resnets|block1)|^adapter\.body\.", "a T2I-Adapter", CONTROLNETS),
    OtherFile(r"lora_(down|up|A|B)\b|\.lora\.(down|up)\.|lora_layer\.", "a LoRA", "Load LoRA"),
    OtherFile(r"double_blocks\.\d+\.img_attn\.", "a whole Flux model", CHECKPOINTS),
    OtherFile(r"(^|\.)joint_blocks\.\d", "a whole SD3 model", CHECKPOINTS),
    OtherFile(r"^model\.diffusion_model\.", "a whole diffusion checkpoint", CHECKPOINTS),
    OtherFile(r"^(input_blocks|down_blocks)\.\d", "a diffusion model", CHECKPOINTS),
    OtherFile(r"^transformer_blocks\.\d", "a diffusion model with diffusers' names", CHECKPOINTS),
    OtherFile(r"multi_modal_projector\.", "llava's vision encoder", "Load CLIP Vision", True),
    OtherFile(r"(^|\.)last_layer_style$", "CSD, the encoder of IP-Adapter-Art, which no loader reads", "", True),
    OtherFile(r"^textual\.", "Wan's CLIP with its authors' names, which Load CLIP Vision does not read", "", True),
    OtherFile(r"^class_embedding$", "a vision encoder of OpenCLIP without the prefix 'visual.' that loaders look for",
              "", True),
    OtherFile(r"^patch_embed\.proj\.weight$|^stages\.\d+\.", "a vision encoder with timm's own names", "", True),
    OtherFile(r"^visual\.blocks\.\d+\.attn\.q_bias", "an EVA-CLIP encoder", "IPAdapter OpenCLIP Loader", True),
    OtherFile(
        r"^visual\.trunk\.", "a vision encoder of OpenCLIP with timm's names", "IPAdapter OpenCLIP Loader", True
    ),
    OtherFile(r"^visual\.", "a vision encoder of OpenCLIP", "IPAdapter OpenCLIP Loader", True),
    OtherFile(r"layer_scale[12]\.lambda1|^layer\.0\.mlp\.gate_proj\.", "a DINO encoder", "Load CLIP Vision", True),
    OtherFile(
        r"^vision_model\.", "a CLIP vision encoder without the projection of its pooled embeds", "Load CLIP Vision",
        True,
    ),
    OtherFile(r"(^|\.)encoder\.block\.0\.layer\.0\.SelfAttention|^(text_model|transformer\.resblocks)\.",
              "a text encoder", "Load CLIP"),
    OtherFile(r"^(decoder|first_stage_model)\..*conv_in", "a VAE", "Load VAE"),
)  # fmt: skip


def other_file(keys: Iterable[str]) -> OtherFile | None:
    """The sort of a file that is not an adapter, by the keys of its tensors; None if no key matches."""
    keys = list(keys)
    return next((each for each in OTHER_FILES if any(re.search(each.key, key) for key in keys)), None)


def is_program(path: Path) -> bool:
    """Whether a file is a program that PyTorch has exported (TorchScript or torch.export), not a pickle of tensors.

    OpenAI publishes its CLIPs as TorchScript.
    """
    return any(name.endswith(("/constants.pkl", "/archive_format")) for name in _names_in(path) or ())


def other_content(path: Path) -> str:
    """What a file that its loader cannot read is by its first bytes, and what to do; "" for a damaged model file.

    Loaders choose the format by the file's suffix, so a whole file with a wrong suffix only has to be renamed.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        return f"it cannot be opened ({error.strerror}): check who may read it, and whether another program holds it"
    safe, names = path.suffix.lower() in SAFE_SUFFIXES, _names_in(path)
    pickled = head.startswith(PICKLE) or any(name.endswith("/data.pkl") for name in names or ())
    if not safe and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return f"it is a .safetensors file by its content: rename it to {path.stem}.safetensors"
    if safe and pickled:
        return f"it is a PyTorch file by its content: rename it to {path.stem}.bin"
    if names is not None and not pickled:
        return "it is a zip: unpack it"
    start = head.lstrip().lower()
    return next((text for mark, text in CONTENTS.items() if start.startswith(mark)), "")


def _names_in(path: Path) -> list[str] | None:
    """The names in a zip, which is also PyTorch's own format; None for other files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return None
