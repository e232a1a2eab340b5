"""Score pictures against references and a prompt with any CLIP_VISION, and faces with a face recogniser.

A prompt needs the encoder's text tower.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...encoders.faces import FaceChoice, face_features, faces_in
from ...encoders.scores import Score, score, similarity
from ...encoders.vision import encode_images
from ...ipadapter.errors import AdapterError
from ..host_types import FaceAnalysis, HostEncoder
from ..loading.adapters import part_of
from .caches import FACES
from .encoding import vision_encoder

CHUNK = 16  # pictures encoded at once
CROP = 112  # pixels of the recogniser's picture


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


def score_faces(
    insightface: FaceAnalysis, images: Sequence[Tensor], references: Sequence[Tensor]
) -> list[float | None]:
    """For every picture the mean cosine, -1 to 1, between its largest face and the largest face of each reference.

    A picture without a face has None.

    Raises:
        AdapterError: no references.
        FaceError: a reference without a face, or a face pack without a recogniser.
    """
    if not references:
        raise AdapterError(
            "insightface scores the faces of pictures against those of references, and references is not connected: "
            "connect the photos of the person, or disconnect insightface."
        )
    analysis = part_of(insightface, "insightface")

    def vectors(batch: Tensor) -> Tensor:
        return face_features(analysis, batch, CROP, choice=FaceChoice("largest"), cache=FACES).embeds

    known = torch.cat([vectors(batch) for batch in references])
    scores: list[float | None] = []
    for batch in images:
        seen = [len(faces) > 0 for faces in faces_in(analysis, batch, 0.0, FACES)]
        found = iter(similarity(vectors(batch[seen]), known).mean(1).tolist() if any(seen) else ())
        scores += [next(found) if each else None for each in seen]
    return scores
