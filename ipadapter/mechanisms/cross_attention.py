"""Adapters for UNets: an attention to image tokens beside each cross-attention to the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..families import FAMILIES, KOLORS, SD15, SDXL
from ..matching import match_keys
from ..projection_sizes import Projection
from ..published import ART, NOOBAI_STYLE
from ..sites import UNET, KeyNumber, Site
from .mechanism import Mechanism

if TYPE_CHECKING:
    from ..config import AdapterConfig

PULID_LAYER = re.compile(r"^id_adapter_attn_layers\.(\d+)\.id_to_([kv])\.")
PULID_ENCODER = re.compile(r"^id_adapter\.")
# Diffusers' names of an adapter in its UNet: models/embeddings.py ImageProjection, models/attention_processor.py
# IPAdapterAttnProcessor. A UNet may hold several adapters; number 0 is the first.
DIFFUSERS_PROJECTION = re.compile(
    r"(?:[^.]+\.){0,2}encoder_hid_proj\.image_projection_layers\.0\.(image_embeds|norm)\.(weight|bias)"
)
DIFFUSERS_LAYER = re.compile(
    r"(?:[^.]+\.){0,2}((?:down_blocks|up_blocks|mid_block)(?:\.\w+){1,8}\.attn2)\.processor\.to_([kv])_ip\.0\.weight"
)
DIFFUSERS_PARTS = ("down_blocks", "up_blocks", "mid_block")  # in the order of key numbers


def in_diffusers_names(keys: Iterable[str]) -> bool:
    """Whether the keys of a state dict are diffusers' names of an adapter in its UNet."""
    return any(DIFFUSERS_LAYER.fullmatch(key) for key in keys)


def _order(path: str) -> tuple[int, tuple[int, ...]]:
    """The sort key of a path such as `down_blocks.1.attentions.0...`, by which paths are in order of key numbers."""
    return DIFFUSERS_PARTS.index(path.partition(".")[0]), tuple(map(int, re.findall(r"\.(\d+)", path)))


class CrossAttention(Mechanism):
    """The mechanism of the paper. A UNet's patch calls its formula, `attention.decoupled_attention`."""

    name = "cross-attention"
    variants = (
        "standard", "light", "ViT-G", "plus", "plus face", "full face", "composition", "SDXL", "SDXL plus",
        "FaceID", "FaceID Plus", "FaceID Plus V2", "FaceID portrait", "FaceID portrait unnorm",
        "Kolors plus", "Kolors FaceID Plus", "InstantID", "PuLID", "PuLID v1.1", NOOBAI_STYLE, ART,
    )  # fmt: skip
    parts = tuple(UNET.parts)
    site = "cross-attention"

    def fits(self, layers: Mapping[str, Tensor]) -> bool:
        """Always True: it comes last, and later checks say what is wrong with a file that is no adapter."""
        return True

    def published_name(self, key: str) -> str:
        """Renames the keys of PuLID for SDXL."""
        return PULID_ENCODER.sub("image_proj.", PULID_LAYER.sub(r"ip_adapter.\1.to_\2_ip.", key))

    def published(self, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A flat state dict under published names; diffusers' names of an adapter in its UNet are renamed too."""
        layers = {key: match for key in flat if (match := DIFFUSERS_LAYER.fullmatch(key))}
        numbers = {path: 2 * rank + 1 for rank, path in enumerate(sorted({m[1] for m in layers.values()}, key=_order))}
        named = {key: f"ip_adapter.{numbers[match[1]]}.to_{match[2]}_ip.weight" for key, match in layers.items()}
        for key in flat if layers else ():
            if match := DIFFUSERS_PROJECTION.fullmatch(key):
                named[key] = f"image_proj.{'proj' if match[1] == 'image_embeds' else 'norm'}.{match[2]}"
        return super().published({named.get(key, key): tensor for key, tensor in flat.items()})

    def numbers(self, count: int) -> tuple[KeyNumber, ...]:
        """Odd numbers, because the even ones belong to self-attentions."""
        return tuple(range(1, 2 * count, 2))

    def match(self, sites: Sequence[Site], config: AdapterConfig) -> tuple[KeyNumber | None, ...]:
        return match_keys(sites, dict(zip(config.key_numbers, config.channels, strict=True)))

    def family(self, projection: Projection, context_dim: int) -> str:
        """The family by the width of the text. Kolors has the width of SDXL, but wider projections."""
        if context_dim == KOLORS.text_width:
            wide_resampler = projection.resampler is not None and projection.resampler.dim == context_dim
            if (projection.kind == "plus" and wide_resampler) or projection.token_dim == 2 * context_dim:
                return KOLORS.name
        unets = (family for family in FAMILIES.values() if family.structure is UNET)
        fits = (family.name for family in unets if family.text_width == context_dim and family.presets)
        return next(fits, f"unknown ({context_dim} wide)")

    def label(self, config: AdapterConfig) -> str:
        projection, sdxl = config.projection, config.family == SDXL.name
        match projection.kind:
            case "standard" if sdxl:
                return "SDXL"
            case "standard" if config.family == SD15.name and projection.embed_dim == 1280:
                return "ViT-G"
            case "standard":
                return "standard"
            case "plus" if config.family == KOLORS.name:
                return "Kolors plus"
            case "plus":
                return "SDXL plus" if sdxl else "plus"
            case "face":
                lora = config.has_lora or bool(config.lora_fault)
                return "FaceID" if lora or projection.tokens <= 4 else "FaceID portrait"
            case "face plus" if projection.token_dim != config.context_dim:
                return "Kolors FaceID Plus"
            case "face plus":
                return "FaceID Plus V2" if config.shortcut else "FaceID Plus"
            case "face resampler":
                return "FaceID portrait unnorm"
            case "id encoder":
                return "PuLID"
            case "id former":
                return "PuLID v1.1"
            case _:
                return "full face"
