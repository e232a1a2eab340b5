"""From a reference to embeds: vision encoder and face recogniser, before the adapter's projection."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...encoders.encoder import Features, VisionEncoder, black_image, crop, stretch
from ...encoders.faces import FaceChoice, Faces, face_features
from ...encoders.noise import contrast_copy
from ...encoders.pictures import shorten
from ...encoders.vision import encode_images, encode_tiled
from ...ipadapter.cache import content_key, serial
from ...ipadapter.checks import check_embeds
from ...ipadapter.embeds import COMBINE
from ...ipadapter.errors import AdapterError, EncoderMismatchError, FaceError
from ...ipadapter.families import face_habits
from ..host import known_faults
from ..host_types import HostEncoder
from ..loading.adapters import Pipeline
from ..loading.picture_size import Resized, note_picture_size
from ..loading.siglip_head import siglip_pooled
from ..notices import say_notes
from .caches import FACES, FEATURES


@dataclass(frozen=True)
class Reference:
    """Pictures (n, h, w, 1, 3 or 4) or ready embeds to follow, and how several of them become one prompt."""

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
    face_noise: float = 0.0  # factor of the noise that replaces the zeros of the negative face vectors


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
    """The embeds of a reference in the form that the adapter takes, combined as the reference's settings say."""
    config = pipeline.adapter.config
    if reference.embeds is None and config.takes is not None:
        note_picture_size(pipeline)
    if reference.combine not in COMBINE:
        raise AdapterError(f"combine_embeds cannot be {reference.combine!r:.80}; choose one of: {', '.join(COMBINE)}.")
    if config.needs_face:
        embeds = _combined(_face_embeds(pipeline, reference), reference)
        return with_face_noise(embeds, reference.face_noise) if reference.face_noise else embeds
    if reference.embeds is not None:
        return _combined(_given_embeds(pipeline, reference), reference)
    encoder = Encoder(pipeline)
    positive = encoder.tiled(_images(reference), reference)
    composition = encoder.tiled(reference.composition, reference) if reference.composition is not None else None
    return _combined(Embeds(positive, negative_embeds(pipeline, reference, positive), composition), reference)


class Encoder:
    """A pipeline's CLIP_VISION: encodes pictures to the kind of embeds that the pipeline's adapter takes."""

    def __init__(self, pipeline: Pipeline) -> None:
        config = pipeline.adapter.config
        if unread := config.training.unread_encoder:
            raise EncoderMismatchError(
                f"{pipeline.adapter.name} was trained with the vision encoder {unread}. This pack "
                "cannot read that encoder's file, and embeds of another encoder mean other things to the adapter. Make "
                f"the embeds elsewhere, of shape (images, {config.embed_dim}), and apply them with IPAdapter Embeds."
            )
        if pipeline.clip_vision is None:
            raise EncoderMismatchError(
                f"{pipeline.adapter.name} needs a vision encoder with {config.takes} embeds {config.embed_dim} wide: "
                "connect a Load CLIP Vision to clip_vision, or use an IPAdapter Unified Loader, which brings the one "
                "that fits."
            )
        self.clip_vision = pipeline.clip_vision
        self.takes_pooled = config.takes == "pooled"
        self.vision = vision_encoder(pipeline.clip_vision, config.stretches, config.training.side)

    def __call__(self, images: Tensor, chunk: int = 0) -> Tensor:
        """Embeds (n, d) or (n, t, width) of pictures (n, h, w, 1, 3 or 4). They are cached: do not change them."""
        features = encode_images(self.vision, images, chunk, FEATURES)
        if not self.takes_pooled:
            return features.hidden
        # ComfyUI's SigLIP has no pooling head: `pooled` has the tokens after its last norm.
        return features.pooled if features.pooled.ndim == 2 else siglip_pooled(self.clip_vision, features.pooled)

    def tiled(self, images: Tensor, reference: Reference) -> Tensor:
        """Embeds of pictures, mixed with those of their tiles by the reference's `tile_ratio`."""
        chunk, tiles, ratio = reference.encode_batch_size, reference.tiles, reference.tile_ratio
        return encode_tiled(lambda parts: self(parts, chunk), images, tiles, ratio, reference.per_frame)


def vision_encoder(clip_vision: HostEncoder, stretches: bool = False, side: int | None = None) -> VisionEncoder:
    """A CLIP_VISION of ComfyUI, or of our OpenCLIP loader, as a `VisionEncoder` for pictures of `side` pixels.

    `stretches`: the adapter was trained with stretched pictures. Otherwise ComfyUI's encoders crop, and those of the
    OpenCLIP loader crop or stretch by the loader's `crop`.

    Raises:
        EncoderMismatchError: no encoder, one whose pictures have no fixed size (SigLIP 2 NaFlex), or one which cannot
            take pictures of `side` pixels.
    """
    if not hasattr(clip_vision, "encode_image"):
        raise EncoderMismatchError(
            f"Expected a vision encoder from a Load CLIP Vision, and got a {type(clip_vision).__name__}."
        )
    if clip_vision.image_size < 1:
        raise EncoderMismatchError(
            "This vision encoder takes pictures of any shape (a SigLIP 2 NaFlex), and no IP-Adapter was trained with "
            "it: load the encoder that the adapter names, with a fixed picture size."
        )
    key = serial(clip_vision), side
    if side not in (None, clip_vision.image_size):
        clip_vision = Resized(clip_vision, side)
    fit = crop if not stretches and getattr(clip_vision, "crop", True) else stretch

    def encode(images: Tensor) -> Features:
        if fit is crop:
            output = clip_vision.encode_image(shorten(images))
        else:
            output = clip_vision.encode_image(images, crop=False)
        return read_features(output, len(images))

    return VisionEncoder(clip_vision.image_size, clip_vision.image_mean, fit, encode, (*key, fit))


def read_features(output: Any, count: int) -> Features:
    """The features of `count` pictures in the output of a CLIP_VISION.

    Raises:
        EncoderMismatchError: features are missing, of another number of pictures, or hold NaN or infinity. The message
            names the known faults of this release of ComfyUI.
    """
    pooled = _feature(output, "image_embeds", (2, 3), count)
    return Features(pooled, _feature(output, "penultimate_hidden_states", (3,), count))


def _feature(output: Any, name: str, dimensions: Sequence[int], count: int) -> Tensor:
    try:
        feature = output[name]
    except (AttributeError, KeyError):  # of ComfyUI's class, and of a dict
        feature = None
    if not isinstance(feature, Tensor) or feature.ndim not in dimensions or len(feature) != count:
        given = f"{name} of shape {tuple(feature.shape)}" if isinstance(feature, Tensor) else f"no {name}"
        fault = f"for {count} pictures it gave {given}"
    elif not feature.isfinite().all():
        fault = f"its {name} have values that are NaN or infinite"
    else:
        return feature.float()
    raise EncoderMismatchError(
        f"The vision encoder does not work: {fault}.{known_faults()} Load it from its file again, or try another file."
    )


def negative_embeds(pipeline: Pipeline, reference: Reference, positive: Tensor) -> Tensor:
    """Embeds for the negative rows: of the negative picture, of a noised copy, or else the adapter's default."""
    negative = reference.negative
    if negative is None and reference.noise > 0:
        negative = contrast_copy(_images(reference), reference.noise)
    if negative is None:
        return no_embeds(pipeline, positive)
    return Encoder(pipeline)(negative, reference.encode_batch_size)


def no_embeds(pipeline: Pipeline, positive: Tensor) -> Tensor:
    """The adapter's default embeds of negative rows, from its training: zeros, or those of a black picture."""
    if pipeline.adapter.config.no_picture == "zeros":
        return torch.zeros_like(positive[:1])
    encoder = Encoder(pipeline)
    return encoder(black_image(encoder.vision.size))


def _images(reference: Reference) -> Tensor:
    if reference.images is None:
        raise AdapterError("This node needs a reference image or embeds, and got neither.")
    return reference.images


def _given_embeds(pipeline: Pipeline, reference: Reference) -> Embeds:
    """Ready embeds. Files from before March 2024 have positive and negative embeds in one tensor (2, images, ...)."""
    positive = check_embeds(reference.embeds, "embeds", pairs=True)
    negative = None if reference.negative_embeds is None else check_embeds(reference.negative_embeds, "neg_embed")
    single = 2 if pipeline.adapter.config.takes == "pooled" else 3
    if positive.ndim == single + 1 and len(positive) == 2 and negative is None:
        positive, negative = positive
    if negative is None:
        negative = no_embeds(pipeline, positive)
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
            "to insightface, or use the IPAdapter Unified Loader FaceID, which brings one."
        )
    faces = find_faces(pipeline, reference)
    zero = torch.zeros_like(faces.embeds[:1])
    if config.takes is None:
        return Embeds(None, None, None, faces.embeds, zero, faces.crops)
    hidden = Encoder(pipeline)(faces.crops, reference.encode_batch_size)
    zeros = face_habits(config.family).negative == "zeros"
    negative = torch.zeros_like(hidden[:1]) if zeros else negative_embeds(pipeline, reference, hidden)
    return Embeds(hidden, negative, None, faces.embeds, zero.expand(len(negative), -1), faces.crops)


def find_faces(pipeline: Pipeline, reference: Reference) -> Faces:
    """The face of every reference picture, cropped as in the adapter's training; FaceError without a usable face."""
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


def with_face_noise(embeds: Embeds, amount: float) -> Embeds:
    """The embeds with `amount` times uniform noise in 0..1 as negative face vectors, one for every face vector.

    The seed is the sum of the face vectors, so that every run of a graph gives the same picture.
    """
    assert embeds.face is not None
    generator = torch.Generator().manual_seed(int(embeds.face.sum()) % 1_000_000_007)
    return replace(embeds, face_negative=amount * torch.rand(embeds.face.shape, generator=generator))


def _combined(embeds: Embeds, reference: Reference) -> Embeds:
    """Embeds of several pictures combined into one row, unless the reference concatenates them or has one per frame."""
    if reference.combine == "concat" or reference.per_frame:
        return embeds
    method = COMBINE[reference.combine]

    def one(x: Tensor | None) -> Tensor | None:
        return method(x) if x is not None and len(x) > 1 else x

    given = reference.negative if reference.negative is not None else reference.negative_embeds
    if given is not None and len(given) > 1:
        say_notes(
            [
                f"Of {len(given)} negative pictures, combine_embeds {reference.combine!r} follows the first alone. "
                "Choose concat to follow all of them."
            ]
        )
    negatives = [None if x is None else x[:1] for x in (embeds.negative, embeds.face_negative)]
    return Embeds(
        one(embeds.positive), negatives[0], one(embeds.composition), one(embeds.face), negatives[1], embeds.faces
    )
