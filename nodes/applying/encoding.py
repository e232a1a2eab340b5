"""From pictures to embeds: what the vision encoder and the face recogniser see in a reference, before the adapter's
projection.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...encoders.faces import FaceChoice, Faces, face_features
from ...encoders.noise import contrast_copy
from ...encoders.pictures import shorten
from ...encoders.vision import Encode, Features, black_image, encode_images, encode_tiled
from ...ipadapter.cache import content_key, serial
from ...ipadapter.checks import check_embeds
from ...ipadapter.embeds import COMBINE
from ...ipadapter.errors import AdapterError, EncoderMismatchError, FaceError
from ...ipadapter.families import face_habits
from ..loading.adapters import LoadedAdapter, Pipeline
from ..loading.siglip_head import siglip_pooled
from ..notices import say_notes
from .caches import FACES, FEATURES


@dataclass(frozen=True)
class Reference:
    """What to follow: pictures (n, height, width, 3) or ready embeds, and how several of them become one prompt."""

    images: Tensor | None = None
    composition: Tensor | None = None
    negative: Tensor | None = None
    embeds: Tensor | None = None
    negative_embeds: Tensor | None = None
    combine: str = "concat"
    per_frame: bool = False  # one picture per frame of the batch
    encode_batch_size: int = 0
    noise: float = 0.0
    tiles: int = 1
    tile_ratio: float = 1.0
    face_weight: float | None = None  # of FaceID Plus V2's CLIP features; None leaves it to the node's weight
    shortcut: bool | None = None  # whether FaceID Plus is V2; None leaves it to the file
    kolors_weight: float = 1.0
    face: FaceChoice = field(default_factory=FaceChoice)


@dataclass(frozen=True)
class Embeds:
    """Embeds of a reference and of its negative, (images, ...) each; face vectors (images, width) and crops for
    FaceID adapters.
    """

    positive: Tensor | None
    negative: Tensor | None
    composition: Tensor | None = None
    face: Tensor | None = None
    face_negative: Tensor | None = None
    faces: Tensor | None = None

    @property
    def key(self) -> Hashable:
        """Equal for equal contents."""
        parts = (self.positive, self.negative, self.composition, self.face, self.face_negative)
        return tuple(None if part is None else content_key(part) for part in parts)


def encode_reference(pipeline: Pipeline, reference: Reference) -> Embeds:
    """The embeds that an adapter takes of a reference, combined as asked."""
    config = pipeline.adapter.config
    if reference.combine not in COMBINE:
        raise AdapterError(f"combine_embeds cannot be {reference.combine!r:.80}; choose one of: {', '.join(COMBINE)}.")
    if config.needs_face:
        return _combined(_face_embeds(pipeline, reference), reference)
    if reference.embeds is not None:
        return _combined(_given_embeds(pipeline, reference), reference)
    encoder = Encoder(pipeline)
    positive = encoder.tiled(_images(reference), reference)
    composition = encoder.tiled(reference.composition, reference) if reference.composition is not None else None
    return _combined(Embeds(positive, encoder.negative(reference, positive), composition), reference)


@dataclass
class Encoder:
    """A CLIP_VISION as seen by one adapter: gives the sort of embeds that the adapter takes."""

    pipeline: Pipeline

    @property
    def adapter(self) -> LoadedAdapter:
        return self.pipeline.adapter

    def __call__(self, images: Tensor, chunk: int = 0) -> Tensor:
        return self._kind_of(encode_images(self._encode, images, chunk, FEATURES, self._key))

    def tiled(self, images: Tensor, reference: Reference) -> Tensor:
        chunk = reference.encode_batch_size
        features = encode_tiled(self._encode, images, reference.tiles, reference.tile_ratio, chunk, FEATURES, self._key)
        return self._kind_of(features)

    def negative(self, reference: Reference, positive: Tensor) -> Tensor:
        """What the negative prompt sees: a negative picture, a noised copy, else black (hidden states) or nothing
        (pooled embeds).
        """
        negative = reference.negative
        if negative is None and reference.noise > 0:
            negative = contrast_copy(_images(reference), reference.noise)
        if negative is not None:
            return self(negative, reference.encode_batch_size)
        return self.nothing(positive)

    def nothing(self, positive: Tensor) -> Tensor:
        """The features of no picture, as the adapter was trained: those of a black one, or zeros."""
        if self.adapter.config.nothing == "zeros":
            return torch.zeros_like(positive[:1])
        return self(black_image(self.image_size))

    @property
    def image_size(self) -> int:
        """Side in pixels of what the encoder sees."""
        return self._clip_vision.image_size

    @property
    def _clip_vision(self) -> Any:
        if self.pipeline.clip_vision is None:
            width, takes = self.adapter.config.embed_dim, self.adapter.config.takes
            raise EncoderMismatchError(
                f"{self.adapter.name} needs a vision encoder with {takes} embeds {width} wide: connect a Load CLIP "
                "Vision to clip_vision, "
                "or use an IPAdapter Unified Loader, which brings the one that fits."
            )
        return self.pipeline.clip_vision

    @property
    def _encode(self) -> Encode:
        return clip_encoder(self._clip_vision, crop=not self.adapter.config.stretches)

    @property
    def _key(self) -> Hashable:
        return serial(self._clip_vision), self.adapter.config.stretches

    def _kind_of(self, features: Features) -> Tensor:
        if self.adapter.config.takes != "pooled":
            return features.hidden
        # ComfyUI leaves out SigLIP's pooling head, and gives its tokens instead.
        return features.pooled if features.pooled.ndim == 2 else siglip_pooled(self._clip_vision, features.pooled)


def clip_encoder(clip_vision: Any, crop: bool = True) -> Encode:
    """ComfyUI's CLIP_VISION as a function from pictures to features; it resizes to the encoder's own size, and crops
    or else stretches what is not square.
    """

    cuts = getattr(clip_vision, "crop", True)  # ComfyUI's own encoders do, after they resized

    def encode(images: Tensor) -> Features:
        if crop:
            output = clip_vision.encode_image(shorten(images) if cuts else images)
        else:
            output = clip_vision.encode_image(images, crop=False)
        return Features(output["image_embeds"].float(), output["penultimate_hidden_states"].float())

    return encode


def _images(reference: Reference) -> Tensor:
    if reference.images is None:
        raise AdapterError("This node needs a reference image or embeds, and got neither.")
    return reference.images


def _given_embeds(pipeline: Pipeline, reference: Reference) -> Embeds:
    """Ready embeds; those of before March 2024 hold positive and negative in one tensor (2, images, ...)."""
    positive = check_embeds(reference.embeds, "embeds", pairs=True)
    negative = None if reference.negative_embeds is None else check_embeds(reference.negative_embeds, "neg_embed")
    single = 2 if pipeline.adapter.config.takes == "pooled" else 3
    if positive.ndim == single + 1 and len(positive) == 2 and negative is None:
        positive, negative = positive
    if negative is None:
        negative = Encoder(pipeline).nothing(positive)
    return Embeds(positive.float(), negative.float())


def _face_embeds(pipeline: Pipeline, reference: Reference) -> Embeds:
    config, adapter = pipeline.adapter.config, pipeline.adapter
    if reference.embeds is not None:
        raise FaceError(
            f"{adapter.name} is a FaceID adapter and needs a face, which ready embeds do not hold: use an IPAdapter "
            "FaceID node."
        )
    if pipeline.insightface is None:
        raise FaceError(
            f"{adapter.name} is a FaceID adapter and needs a face detector: connect an IPAdapter InsightFace Loader "
            "to insightface, "
            "or use the IPAdapter Unified Loader FaceID, which brings one."
        )
    faces = find_faces(pipeline, reference)
    zero = torch.zeros_like(faces.embeds[:1])
    if config.takes is None:
        return Embeds(None, None, None, faces.embeds, zero, faces.crops)
    encoder = Encoder(pipeline)
    hidden = encoder(faces.crops, reference.encode_batch_size)
    zeros = face_habits(config.family).negative == "zeros"
    negative = torch.zeros_like(hidden[:1]) if zeros else encoder.negative(reference, hidden)
    return Embeds(hidden, negative, None, faces.embeds, zero.expand(len(negative), -1), faces.crops)


def find_faces(pipeline: Pipeline, reference: Reference) -> Faces:
    """The face of every reference picture, as the adapter was trained with it."""
    config = pipeline.adapter.config
    habits = face_habits(config.family)
    faces = face_features(
        pipeline.insightface,
        _images(reference),
        habits.side,
        normed=habits.normed and not config.raw_face,
        choice=reference.face,
        crop=habits.crop,
        cache=FACES,
    )
    say_notes(faces.notes)
    return faces


def _combined(embeds: Embeds, reference: Reference) -> Embeds:
    """Several references made one where that is asked for; each kind of embeds by its own count."""
    if reference.combine == "concat" or reference.per_frame:
        return embeds
    method = COMBINE[reference.combine]

    def one(x: Tensor | None) -> Tensor | None:
        return method(x) if x is not None and len(x) > 1 else x

    several = any(x is not None and len(x) > 1 for x in (embeds.positive, embeds.face))
    first = slice(0, 1) if several else slice(None)
    negatives = [None if x is None else x[first] for x in (embeds.negative, embeds.face_negative)]
    return Embeds(
        one(embeds.positive), negatives[0], one(embeds.composition), one(embeds.face), negatives[1], embeds.faces
    )
