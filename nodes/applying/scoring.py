"""Score pictures against references and a prompt with any CLIP_VISION; a prompt needs its text tower."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...encoders.scores import Score, score
from ...encoders.vision import encode_images
from ...ipadapter.errors import AdapterError
from ..host_types import HostEncoder
from .encoding import vision_encoder

CHUNK = 16  # pictures encoded at once


def text_embeds(clip_vision: HostEncoder, texts: Sequence[str]) -> Tensor:
    """Embeds (n, d) of texts in the space of an encoder's pooled embeds.

    Raises:
        AdapterError: the encoder came without its text tower.
    """
    tower = getattr(clip_vision, "text", None)
    if tower is None:
        raise AdapterError(
            "This vision encoder has no text tower, so words cannot be compared with its pictures. Load a file that "
            "holds both towers, such as open_clip_model.safetensors of laion/CLIP-ViT-H-14-laion2B-s32B-b79K, with "
            "IPAdapter OpenCLIP Loader. Files in models/clip_vision mostly hold the vision tower alone, and a SigLIP's "
            "words need a tokeniser that is in no checkpoint."
        )
    return tower.encode_text(list(texts)).float()


def picture_embeds(clip_vision: HostEncoder, images: Sequence[Tensor]) -> Tensor:
    """Pooled embeds (n, d) of batches of pictures, which may differ in size."""
    encoder = vision_encoder(clip_vision)
    return torch.cat([encode_images(encoder, batch, CHUNK).pooled for batch in images])


def score_pictures(
    clip_vision: HostEncoder, images: Sequence[Tensor], references: Sequence[Tensor] = (), prompt: str = ""
) -> list[Score]:
    """Scores of every picture: CLIP-I where there are references, CLIP-T where there is a prompt.

    Raises:
        AdapterError: neither references nor a prompt, or a prompt and an encoder without a text tower.
    """
    if not references and not prompt.strip():
        raise AdapterError("There is nothing to compare with: connect references, write the prompt, or both.")
    words = text_embeds(clip_vision, [prompt]) if prompt.strip() else None  # first, because it may raise
    pictures = picture_embeds(clip_vision, images)
    return score(pictures, picture_embeds(clip_vision, references) if references else None, words)
