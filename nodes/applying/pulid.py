"""From pictures of a person to a model that follows the person, with PuLID (arXiv:2404.16022)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...encoders.encoder import stretch
from ...encoders.face_crops import FFHQ_SIZE
from ...encoders.face_parsing import faces_and_hair, grey_faces
from ...encoders.faces import FaceChoice, Faces, crop_faces, face_features
from ...encoders.pictures import resize
from ...ipadapter.cache import content_key, image_keys, serial
from ...ipadapter.checks import check_images, check_mask
from ...ipadapter.errors import AdapterError, EncoderMismatchError
from ...ipadapter.families import FLUX
from ...ipadapter.image_prompt import Source
from ...ipadapter.pulid_rules import RULES
from ...ipadapter.pulid_tokens import person_tokens
from ...ipadapter.shared_files import fingerprint
from ..host_types import FaceAnalysis, HostEncoder, Socket
from ..loading.adapters import LoadedAdapter, open_pipeline
from ..loading.face_packs import check_pack
from ..loading.openclip import OpenClipVision
from ..loading.pulid import NO_PARSER, load_parser, parser_path
from ..notices import say_notes
from ..sampling.attach import attach, sites_of
from .apply import Strength, checked_strength, note_black_masks, prompt_of, sites_for
from .caches import FACES, FEATURES, TOKENS
from .keys_values import Tokens, site_weights, source_of_tokens, to_main_memory

LONGEST_SIDE = 1024  # pixels; larger pictures are shrunk before face detection
FACE_PACK = "antelopev2"
BLOCKS = (3, 7, 11, 15, 19)  # blocks of the EVA tower whose outputs PuLID's encoder reads


@dataclass(frozen=True)
class Person:
    """Pictures (n, h, w, 1, 3 or 4) of a person, and how they become one prompt.

    `face_mask` (1 or n, h, w) is white on face and hair, in place of a face parser. `zeros` and `noise` are those of
    `person_tokens`.
    """

    images: Tensor
    combine: str = "mean"
    zeros: int = 0
    noise: float = 0.0
    face: FaceChoice = field(default_factory=lambda: FaceChoice("largest", missing="skip the image"))
    crop: str = "head"  # a key of faces.CROPS
    grey: bool = True
    face_mask: Tensor | None = None


@dataclass(frozen=True)
class Seen:
    """The inputs of PuLID's encoder for n pictures: ids (n, id), and five hidden states, (n, tokens, width) each."""

    ids: Tensor
    states: tuple[Tensor, ...]


def apply_pulid(
    model: ModelPatcher,
    pulid: Socket,
    eva_clip: HostEncoder,
    face_analysis: FaceAnalysis,
    person: Person,
    strength: Strength,
    projection: str | None = None,
) -> ModelPatcher:
    """A clone of a model that follows a person. All inputs are checked here, before sampling.

    `projection` is a key of RULES for PuLID for SDXL, and None for PuLID for Flux, which has no rules.
    """
    pipeline = open_pipeline(pulid, eva_clip, face_analysis)

    def see() -> Seen:
        return see_person(pipeline.clip_vision, pipeline.insightface, person)

    return follow_person(model, pipeline.adapter, see, person, strength, projection)


def follow_person(
    model: ModelPatcher,
    adapter: LoadedAdapter,
    see: Callable[[], Seen],
    person: Person,
    strength: Strength,
    projection: str | None,
) -> ModelPatcher:
    """Like `apply_pulid`, but the person's pictures are encoded only after model and adapter have been checked."""
    check_adapter(adapter, flux=projection is None)
    sites = sites_for(adapter, sites_of(model))
    note_black_masks([strength.mask])
    weights = site_weights(adapter, sites)

    def make_source() -> Source:
        return source_of_tokens(model, adapter, sites, weights, _tokens(adapter, see(), person), per_frame=False)

    rule = None if projection is None else RULES[projection]
    return attach(model, [prompt_of(adapter, sites, checked_strength(strength), make_source, rule=rule)])


def check_adapter(adapter: LoadedAdapter, flux: bool) -> None:
    """AdapterError if an adapter is no PuLID, or one for Flux where `flux` is False, or the reverse.

    A PuLID for Flux knows no rules, and would take tokens of zeros for a part of the person.
    """
    if not adapter.config.is_pulid:
        raise AdapterError(f"{adapter.name} is {adapter.config.variant}, no PuLID: use an Apply IPAdapter node for it.")
    if (adapter.config.family == FLUX.name) != flux:
        own, other = ("Flux", "Apply PuLID") if flux else ("SDXL", "Apply PuLID Flux")
        raise AdapterError(
            f"{adapter.name} is {adapter.config.variant}, and this node applies PuLID for {own}: use {other} for it."
        )


def see_person(eva_clip: HostEncoder, face_analysis: FaceAnalysis, person: Person) -> Seen:
    """The outputs of the face recogniser and of the vision encoder for a person's pictures.

    Raises FaceError if no picture has a face, EncoderMismatchError if the vision encoder comes from another loader than
    the OpenCLIP loader or Load Eva Clip.
    """
    if not isinstance(eva_clip, OpenClipVision):
        raise EncoderMismatchError(
            "PuLID reads hidden states of the EVA02-CLIP L 336 encoder, and got a "
            f"{type(eva_clip).__name__}: connect a Load Eva Clip (PuLID), or an IPAdapter OpenCLIP Loader with that "
            "encoder's file."
        )
    check_pack(face_analysis, FACE_PACK, "PuLID")
    images = shrunk(check_images(person.images))
    faces = face_features(
        face_analysis, images, FFHQ_SIZE, normed=False, choice=person.face, crop=person.crop, cache=FACES
    )
    say_notes(faces.notes)
    crops = grey_faces(faces.crops, _head_masks(faces, person, images), person.grey)
    pooled, *states = FEATURES.get_or_make(
        (serial(eva_clip), BLOCKS, *image_keys(crops)), lambda: _eva_features(eva_clip, crops)
    )
    return Seen(torch.cat((faces.embeds, pooled), dim=-1), tuple(states))


def shrunk(images: Tensor) -> Tensor:
    """Pictures (n, h, w, c) whose long side is at most 1024 pixels."""
    height, width = images.shape[1:3]
    scale = LONGEST_SIDE / max(height, width)
    return images if scale >= 1 else resize(images, max(1, round(height * scale)), max(1, round(width * scale)))


def _head_masks(faces: Faces, person: Person, images: Tensor) -> Tensor | None:
    """Masks (n, 512, 512) of face and hair in the crops; None, with a note, if no face parser is on the disk."""
    if person.face_mask is not None:
        count, height, width = images.shape[:3]
        masks = check_mask(person.face_mask, "face_mask")
        note_black_masks([masks], "face_mask", "the vision encoder sees no part of the face", "on face and hair")
        masks = (masks.unsqueeze(0) if masks.ndim == 2 else masks).unsqueeze(-1)
        if len(masks) not in (1, count):
            raise AdapterError(f"face_mask has {len(masks)} masks for {count} images: connect one, or one for each.")
        fitted = resize(masks.expand(-1, -1, -1, 3), height, width).expand(count, -1, -1, -1)
        chosen = dict(zip(faces.kept, faces.found, strict=True))
        return crop_faces(fitted, chosen, faces.kept, FFHQ_SIZE, crop=f"{person.crop} mask")[..., 0]
    path = parser_path()
    if path is None:
        say_notes([NO_PARSER])
        return None
    key = ("face and hair", fingerprint(path), *image_keys(faces.crops))
    return FEATURES.get_or_make(key, lambda: faces_and_hair(load_parser(path), faces.crops))


def _eva_features(eva_clip: OpenClipVision, crops: Tensor) -> tuple[Tensor, ...]:
    pooled, states = eva_clip.encode_states(stretch(crops, eva_clip.image_size), BLOCKS)
    return pooled / pooled.norm(dim=-1, keepdim=True), *states


def _tokens(adapter: LoadedAdapter, seen: Seen, person: Person) -> Tokens:
    """Tokens for positive and negative rows, cached by content, so that a changed weight needs no new encoding."""
    settings = (person.combine, person.noise, person.zeros)
    key = (serial(adapter), content_key(seen.ids), *map(content_key, seen.states), *settings)

    def make() -> Tokens:
        device = adapter.to_device().load_device
        ids, states = seen.ids.to(device), [state.to(device) for state in seen.states]
        return Tokens(*map(to_main_memory, person_tokens(adapter.network, ids, states, *settings)))

    return TOKENS.get_or_make(key, make)
