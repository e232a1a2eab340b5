"""Sizes of a projection network, read from the shapes of its tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .errors import CheckpointError
from .pulid_encoders import OWN_TOKENS, STATES
from .resampler import HEAD_DIM, ResamplerSizes

FACE_DIM = 512  # ArcFace; no vision encoder is 512 wide, so a resampler of this width reads a face
Kind = Literal[
    "standard", "plus", "full face", "face", "face plus", "face resampler", "wide", "time resampler", "id encoder",
    "id former",
]  # fmt: skip


@dataclass(frozen=True)
class Projection:
    """Kind and sizes of a projection network; `kind` is a key of projecting.NETWORKS."""

    kind: Kind
    token_dim: int  # width of the tokens that come out
    tokens: int  # per image; 0: as many as the encoder gives
    embed_dim: int | None = None  # width of the embeds that go in
    face_dim: int | None = None
    hidden: int = 0  # width inside a perceptron
    resampler: ResamplerSizes | None = None
    sinusoids: int = 0  # of a timestep, where the tokens depend on it
    state_dim: int = 0  # of the five hidden states that a PuLID encoder reads

    @property
    def timed(self) -> bool:
        """Whether tokens, keys and values depend on the timestep, so that they are computed at every step."""
        return self.kind == "time resampler"


def size(group: Mapping[str, Tensor], key: str, axis: int) -> int:
    """Length of one axis of a tensor; CheckpointError where the tensor is missing or has no such axis."""
    if key not in group or axis >= group[key].ndim or group[key].shape[axis] == 0:
        found = f"of shape {tuple(group[key].shape)}" if key in group else "missing"
        raise CheckpointError(f"its {key} is {found}")
    return group[key].shape[axis]


def _heads(group: Mapping[str, Tensor], key: str) -> int:
    """The number of heads of an attention, by the rows of its to_q."""
    rows = size(group, key, 0)
    if rows % HEAD_DIM:
        raise CheckpointError(f"its attention is {rows} wide, which is no multiple of {HEAD_DIM}")
    return rows // HEAD_DIM


def _resampler(group: Mapping[str, Tensor], prefix: str = "") -> ResamplerSizes:
    heads = _heads(group, f"{prefix}layers.0.0.to_q.weight")
    return ResamplerSizes(
        embed_dim=size(group, f"{prefix}proj_in.weight", 1),
        dim=size(group, f"{prefix}proj_in.weight", 0),
        out_dim=size(group, f"{prefix}proj_out.weight", 0),
        inner=size(group, f"{prefix}layers.0.1.1.weight", 0),
        heads=heads,
        depth=len({key.split(".")[prefix.count(".") + 1] for key in group if key.startswith(f"{prefix}layers.")}),
    )


def _standard(group: Mapping[str, Tensor]) -> Projection:
    dim = size(group, "norm.weight", 0)
    return Projection("standard", dim, size(group, "proj.weight", 0) // dim, size(group, "proj.weight", 1))


def _full_face(group: Mapping[str, Tensor]) -> Projection:
    hidden, embed_dim = size(group, "proj.0.weight", 0), size(group, "proj.0.weight", 1)
    return Projection("full face", size(group, "proj.3.weight", 0), 0, embed_dim, hidden=hidden)


def _plus(group: Mapping[str, Tensor]) -> Projection:
    sizes, tokens = _resampler(group), size(group, "latents", 1)
    if sizes.embed_dim == FACE_DIM:
        return Projection("face resampler", sizes.out_dim, tokens, face_dim=FACE_DIM, resampler=sizes)
    return Projection("plus", sizes.out_dim, tokens, sizes.embed_dim, resampler=sizes)


def _face(group: Mapping[str, Tensor]) -> Projection:
    dim, (hidden, face_dim) = size(group, "norm.weight", 0), (size(group, "proj.0.weight", axis) for axis in (0, 1))
    return Projection("face", dim, size(group, "proj.2.weight", 0) // dim, face_dim=face_dim, hidden=hidden)


def _time_resampler(group: Mapping[str, Tensor]) -> Projection:
    sizes, sinusoids = _resampler(group), size(group, "time_embedding.linear_1.weight", 1)
    tokens = size(group, "latents", 1)
    return Projection("time resampler", sizes.out_dim, tokens, sizes.embed_dim, resampler=sizes, sinusoids=sinusoids)


def _face_plus(group: Mapping[str, Tensor]) -> Projection:
    face, sizes = _face(group), _resampler(group, "perceiver_resampler.")
    return Projection(
        "face plus", sizes.out_dim, face.tokens, sizes.embed_dim, face.face_dim, face.hidden, resampler=sizes
    )


def _id_encoder(group: Mapping[str, Tensor]) -> Projection:
    hidden, id_dim = (size(group, "body.0.weight", axis) for axis in (0, 1))
    dim, state_dim = size(group, "mapping_0.6.weight", 0), size(group, "mapping_0.0.weight", 1)
    return Projection(
        "id encoder", dim, OWN_TOKENS + STATES, face_dim=id_dim, hidden=hidden, state_dim=state_dim
    )  # fmt: skip


def _id_former(group: Mapping[str, Tensor]) -> Projection:
    hidden, id_dim = (size(group, "id_embedding_mapping.0.weight", axis) for axis in (0, 1))
    heads = _heads(group, "layers.0.0.to_q.weight")
    depth = len({key.split(".")[1] for key in group if key.startswith("layers.")})
    if depth % STATES:
        raise CheckpointError(f"its encoder has {depth} layers, which is no multiple of {STATES}")
    sizes = ResamplerSizes(
        embed_dim=size(group, "mapping_0.0.weight", 1),
        dim=size(group, "latents", 2),
        out_dim=size(group, "proj_out", 1),
        inner=size(group, "layers.0.1.1.weight", 0),
        heads=heads,
        depth=depth,
    )
    return Projection(
        "id former", sizes.out_dim, size(group, "latents", 1), face_dim=id_dim, hidden=hidden, resampler=sizes,
        state_dim=sizes.embed_dim,
    )  # fmt: skip


# A group of tensors has the projection of the first of these keys that is in it.
SIGNATURES: dict[str, Callable[[Mapping[str, Tensor]], Projection]] = {
    "perceiver_resampler.proj_in.weight": _face_plus,
    "time_embedding.linear_1.weight": _time_resampler,
    "mapping_patch_0.0.weight": _id_encoder,
    "id_embedding_mapping.0.weight": _id_former,
    "latents": _plus,
    "proj.3.weight": _full_face,
    "proj.2.weight": _face,
    "proj.weight": _standard,
}


def read_projection(group: Mapping[str, Tensor]) -> Projection:
    """Sizes of the projection that a group of tensors is the state dict of; CheckpointError where there is none."""
    for key, read in SIGNATURES.items():
        if key in group:
            return read(group)
    raise CheckpointError(f"its projection has none of {', '.join(SIGNATURES)}, but {', '.join(sorted(group)[:4])}")
