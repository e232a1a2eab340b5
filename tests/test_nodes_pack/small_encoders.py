"""ComfyUI's CLIP vision loader knows encoders of the published sizes only; here it also loads the small stand-in."""

from typing import Any

import comfy.clip_vision

from .standins import tiny_clip_vision

_published = comfy.clip_vision.load_clipvision_from_sd


def load_clipvision_from_sd(sd: dict[str, Any], prefix: str = "", convert_keys: bool = False) -> Any:
    if (found := _published(sd, prefix, convert_keys)) is not None or "visual_projection.weight" not in sd:
        return found
    projection, hidden = sd["visual_projection.weight"].shape
    encoder = tiny_clip_vision(0, hidden, projection, 224)
    encoder.load_sd(sd)
    return encoder


comfy.clip_vision.load_clipvision_from_sd = load_clipvision_from_sd
