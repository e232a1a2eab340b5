"""The network of each kind of projection, and the function that gives it its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, cast

from torch import Tensor, nn

from .catalog import encoder_title
from .config import AdapterConfig
from .errors import AdapterError, EncoderMismatchError
from .projection import FacePlusProjection, FaceProjection, ImageProjection, TokenProjection
from .projection_sizes import Kind, Projection
from .pulid_encoders import IDEncoder, IDFormer
from .resampler import Resampler, ResamplerSizes
from .time_resampler import TimeResampler


class Inputs(NamedTuple):
    """What an adapter may read of a picture: embeds (b, embed) or (b, n, embed), and face vectors (b, face) or (b, n,
    face) for several faces.

    `face_weight` multiplies the refinement of FaceID Plus V2; `shortcut` overrides whether the adapter is V2.
    """

    embeds: Tensor | None = None
    face: Tensor | None = None
    face_weight: float = 1.0
    shortcut: bool | None = None


class Network(NamedTuple):
    """A kind of projection: `make` builds its module from the sizes, `project` gives the image tokens of inputs."""

    make: Callable[..., nn.Module]
    project: Callable[[AdapterConfig, nn.Module, Inputs], Tensor]


def project_embeds(config: AdapterConfig, network: nn.Module, inputs: Inputs) -> Tensor:
    return network(checked_embeds(config, inputs.embeds))


def pass_embeds(config: AdapterConfig, network: nn.Module, inputs: Inputs) -> Tensor:
    """The embeds themselves: a time resampler projects them at every step (`AdapterNetwork.tokens_at`)."""
    return checked_embeds(config, inputs.embeds)


def project_face(config: AdapterConfig, network: nn.Module, inputs: Inputs) -> Tensor:
    return network(checked_face(config, inputs.face))


def project_faces(config: AdapterConfig, network: nn.Module, inputs: Inputs) -> Tensor:
    """A resampler reads a sequence of face vectors, (b, n, face)."""
    face = checked_face(config, inputs.face)
    return network(face if face.ndim == 3 else face.unsqueeze(1))


def project_face_and_embeds(config: AdapterConfig, network: nn.Module, inputs: Inputs) -> Tensor:
    """A face vector, refined by the embeds; a single face or a single picture goes with all of the others."""
    embeds = checked_embeds(config, inputs.embeds)
    face = checked_face(config, inputs.face).to(embeds)
    if face.ndim == 3 and face.shape[1] == 1:
        face = face.squeeze(1)
    if face.ndim != 2 or (len(face) != len(embeds) and 1 not in (len(face), len(embeds))):
        raise AdapterError(
            f"{config.variant} takes one face per picture, got faces {tuple(face.shape)} for {len(embeds)} pictures."
        )
    rows = max(len(face), len(embeds))
    shortcut = config.shortcut if inputs.shortcut is None else inputs.shortcut
    return network(face.expand(rows, -1), embeds.expand(rows, -1, -1), inputs.face_weight, shortcut)


def refuse(config: AdapterConfig, network: nn.Module, inputs: Inputs) -> NoReturn:
    raise AdapterError(
        f"{config.variant} reads a face and a vision encoder's hidden states together, which only the "
        "Apply PuLID nodes give it: load its file with Load PuLID Model or Load PuLID Flux Model."
    )


def _resampler(p: Projection, **how: Any) -> nn.Module:
    return Resampler(p.tokens, cast(ResamplerSizes, p.resampler), **how)


def _face_plus(p: Projection, **how: Any) -> nn.Module:
    sizes = cast(ResamplerSizes, p.resampler)
    return FacePlusProjection(cast(int, p.face_dim), p.hidden, p.tokens, sizes.dim, resampler=sizes, **how)


def _time_resampler(p: Projection, **how: Any) -> nn.Module:
    return TimeResampler(p.tokens, cast(ResamplerSizes, p.resampler), p.sinusoids, **how)


def _id_former(p: Projection, **how: Any) -> nn.Module:
    return IDFormer(cast(int, p.face_dim), p.hidden, p.tokens, cast(ResamplerSizes, p.resampler), **how)


NETWORKS: dict[Kind, Network] = {
    "standard": Network(lambda p, **how: ImageProjection(p.embed_dim, p.tokens, p.token_dim, **how), project_embeds),
    "plus": Network(_resampler, project_embeds),
    "full face": Network(lambda p, **how: TokenProjection(p.embed_dim, p.hidden, p.token_dim, **how), project_embeds),
    "face": Network(lambda p, **how: FaceProjection(p.face_dim, p.hidden, p.tokens, p.token_dim, **how), project_face),
    "face plus": Network(_face_plus, project_face_and_embeds),
    "face resampler": Network(_resampler, project_faces),
    "wide": Network(
        lambda p, **how: FaceProjection(p.embed_dim, p.hidden, p.tokens, p.token_dim, **how), project_embeds
    ),
    "time resampler": Network(_time_resampler, pass_embeds),
    "id encoder": Network(lambda p, **how: IDEncoder(p.face_dim, p.state_dim, p.hidden, p.token_dim, **how), refuse),
    "id former": Network(_id_former, refuse),
}


def checked_embeds(config: AdapterConfig, embeds: Tensor | None) -> Tensor:
    """Embeds (n, d) or (n, tokens, d), checked; EncoderMismatchError if the adapter takes others."""
    width, takes = config.embed_dim, config.takes
    wanted = f"{takes} embeds {width} wide, of shape {'(n, d)' if takes == 'pooled' else '(n, tokens, d)'}"
    if embeds is None:
        raise EncoderMismatchError(f"{config.variant} needs {wanted}, and got none: connect a vision encoder.")
    if embeds.ndim != (2 if takes == "pooled" else 3) or embeds.shape[-1] != width:
        raise EncoderMismatchError(
            f"{config.variant} needs {wanted}, got {tuple(embeds.shape)}: "
            f"load {encoder_for(takes, width)}, or an adapter made for the encoder that is connected."
        )
    return embeds


def checked_face(config: AdapterConfig, face: Tensor | None) -> Tensor:
    """Face vectors (n, d) or (n, faces, d), checked; AdapterError if the adapter takes others."""
    width = config.face_dim
    if face is None:
        raise AdapterError(f"{config.variant} needs a face vector {width} wide, and got none.")
    if face.ndim not in (2, 3) or face.shape[-1] != width:
        raise AdapterError(
            f"{config.variant} needs face vectors of shape (n, {width}), got {tuple(face.shape)}: "
            "use the recogniser that the adapter was trained with."
        )
    return face


def encoder_for(takes: str | None, width: int | None) -> str:
    """The name of the vision encoder whose embeds have this kind ("pooled", "hidden") and width, for messages."""
    return encoder_title(takes or "", width or 0) or f"a vision encoder whose {takes} embeds are {width} wide"
