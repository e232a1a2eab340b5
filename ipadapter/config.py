"""What a checkpoint is, told by the shapes of its tensors; only labels are refined by the file's name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from .errors import CheckpointError
from .families import FAMILIES, KOLORS
from .resampler import HEAD_DIM, ResamplerSizes
from .transformer_formats import LABELS, MADE_FOR, Mechanism, transformer_label

FACE_DIM = 512  # ArcFace; no vision encoder is 512 wide, so a resampler of this width reads a face
VARIANTS = (
    "standard", "light", "ViT-G", "plus", "plus face", "full face", "composition", "SDXL", "SDXL plus",
    "FaceID", "FaceID Plus", "FaceID Plus V2", "FaceID portrait", "FaceID portrait unnorm",
    "Kolors plus", "Kolors FaceID Plus", "InstantID",
    "XLabs Flux", "XLabs Flux v2", "InstantX Flux", "InstantX SD3.5",
)  # fmt: skip


@dataclass(frozen=True)
class Projection:
    """Sizes of a projection network; which one it is: `kind`, a key of adapter.NETWORKS."""

    kind: Literal["standard", "plus", "full face", "face", "face plus", "face resampler", "wide", "time resampler"]
    token_dim: int  # width of the tokens that come out
    tokens: int  # per image; 0: one per encoder token
    embed_dim: int | None = None  # width of the embeds that go in
    face_dim: int | None = None
    hidden: int = 0  # width inside a perceptron
    resampler: ResamplerSizes | None = None
    sinusoids: int = 0  # of a timestep, where the tokens depend on it


@dataclass(frozen=True)
class AdapterConfig:
    """A checkpoint's sizes and habits."""

    variant: str  # one of VARIANTS: its published name, by which the file of a preset is found
    family: str  # a key of families.FAMILIES, or "unknown (N wide)"
    projection: Projection
    context_dim: int  # width of the tokens that to_k_ip and to_v_ip read
    key_numbers: tuple[int, ...]  # numbers of the cross-attentions in the file: odd, down blocks, up blocks, middle
    channels: tuple[int, ...]  # width of each of those cross-attentions
    has_lora: bool  # a complete one
    shortcut: bool  # FaceID Plus V2: the refinement is added to the face tokens instead of replacing them
    mechanism: Mechanism = "cross-attention"  # where its attention acts, in a UNet or a transformer
    head_dim: int = 0  # width of a head, where the adapter norms heads itself
    lora_fault: str = ""  # what is wrong with the LoRA in the file, where it cannot be used

    @property
    def tokens(self) -> int:
        """Tokens per image; 0 where every encoder token becomes one."""
        return self.projection.tokens

    @property
    def token_dim(self) -> int:
        """Width of the projected tokens; twice context_dim where the UNet's own text projection comes in between."""
        return self.projection.token_dim

    @property
    def embed_dim(self) -> int | None:
        """Width of the vision encoder's embeds; None where no vision encoder is used."""
        return self.projection.embed_dim

    @property
    def face_dim(self) -> int | None:
        """Width of the recogniser's face vector; None where no face is used."""
        return self.projection.face_dim

    @property
    def takes(self) -> Literal["pooled", "hidden"] | None:
        """What it uses of the vision encoder: pooled embeds, or the penultimate layer's hidden states."""
        if self.embed_dim is None:
            return None
        return "pooled" if self.projection.kind in ("standard", "wide") else "hidden"

    @property
    def timed(self) -> bool:
        """Whether tokens, keys and values depend on the timestep, so that none can be kept for a whole run."""
        return self.projection.kind == "time resampler"

    @property
    def stretches(self) -> bool:
        """Whether pictures that are not square were stretched in training, rather than cut: InstantX' adapters."""
        return self.mechanism in ("attention output", "joint attention")

    @property
    def nothing(self) -> Literal["zeros", "black"]:
        """What stands for no picture where a negative prompt needs one: zero embeds, or those of a black picture.

        As published: XLabs' training encodes a black picture, SD3.5's zero hidden states.
        """
        if self.mechanism == "block output":
            return "black"
        return "zeros" if self.takes == "pooled" or self.timed else "black"

    @property
    def needs_face(self) -> bool:
        return self.face_dim is not None

    @property
    def raw_face(self) -> bool:
        """Whether the face vector must not be brought to length one (portrait unnorm)."""
        return self.projection.kind == "face resampler"

    @property
    def heads(self) -> int:
        return self.projection.resampler.heads if self.projection.resampler else 0

    @property
    def depth(self) -> int:
        return self.projection.resampler.depth if self.projection.resampler else 0


@dataclass(frozen=True)
class Checkpoint:
    """An adapter as it was read: groups of tensors under their published names, without the group's prefix."""

    name: str
    config: AdapterConfig
    image_proj: Mapping[str, Tensor]
    ip_adapter: Mapping[str, Tensor]  # <number>.to_k_ip.weight, <number>.to_v_ip.weight: (channels, context)
    lora: Mapping[str, Tensor]  # <number>.to_{q,k,v,out}_lora.{down,up}.weight, even numbers: self-attention


def size(group: Mapping[str, Tensor], key: str, axis: int) -> int:
    """Length of one axis of a tensor that has to be there."""
    if key not in group or axis >= group[key].ndim or group[key].shape[axis] == 0:
        found = f"of shape {tuple(group[key].shape)}" if key in group else "missing"
        raise CheckpointError(f"its {key} is {found}")
    return group[key].shape[axis]


def _resampler(group: Mapping[str, Tensor], prefix: str = "") -> ResamplerSizes:
    rows = size(group, f"{prefix}layers.0.0.to_q.weight", 0)
    if rows % HEAD_DIM:
        raise CheckpointError(f"its attention is {rows} wide, which is no multiple of {HEAD_DIM}")
    return ResamplerSizes(
        embed_dim=size(group, f"{prefix}proj_in.weight", 1),
        dim=size(group, f"{prefix}proj_in.weight", 0),
        out_dim=size(group, f"{prefix}proj_out.weight", 0),
        inner=size(group, f"{prefix}layers.0.1.1.weight", 0),
        heads=rows // HEAD_DIM,
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


# The first key that a projection has tells its kind.
SIGNATURES: dict[str, Callable[[Mapping[str, Tensor]], Projection]] = {
    "perceiver_resampler.proj_in.weight": _face_plus,
    "time_embedding.linear_1.weight": _time_resampler,
    "latents": _plus,
    "proj.3.weight": _full_face,
    "proj.2.weight": _face,
    "proj.weight": _standard,
}


def read_projection(group: Mapping[str, Tensor], mechanism: Mechanism = "cross-attention") -> Projection:
    """Sizes of the projection that a group of tensors is the state dict of; CheckpointError where there is none."""
    for key, read in SIGNATURES.items():
        if key in group:
            found = read(group)
            # InstantX' Flux adapter has FaceID's network over a vision encoder's pooled embeds.
            wide = mechanism == "attention output" and found.kind == "face"
            return replace(found, kind="wide", embed_dim=found.face_dim, face_dim=None) if wide else found
    raise CheckpointError(f"its projection has none of {', '.join(SIGNATURES)}, but {', '.join(sorted(group)[:4])}")


def family_of(projection: Projection, context_dim: int, mechanism: Mechanism = "cross-attention") -> str:
    """The family of models that an adapter was made for, by its mechanism and the width of the text that they read;
    Kolors has SDXL's.
    """
    if mechanism in MADE_FOR:
        return MADE_FOR[mechanism]
    if context_dim == KOLORS.text_width:
        wide_resampler = projection.resampler is not None and projection.resampler.dim == context_dim
        if (projection.kind == "plus" and wide_resampler) or projection.token_dim == 2 * context_dim:
            return KOLORS.name
    unets = (f for f in FAMILIES.values() if f.structure == "unet")
    fits = (f.name for f in unets if f.text_width == context_dim and f.presets)
    return next(fits, f"unknown ({context_dim} wide)")


def label(
    projection: Projection,
    family: str,
    context_dim: int,
    has_lora: bool,
    shortcut: bool,
    mechanism: Mechanism = "cross-attention",
) -> str:
    """The variant that shapes tell: one of VARIANTS. names.variant_by_name tells apart those of the same shapes."""
    if mechanism in LABELS:
        return transformer_label(mechanism, projection.tokens)
    sdxl = family == "sdxl"
    match projection.kind:
        case "standard" if sdxl:
            return "SDXL"
        case "standard" if family == "sd15" and projection.embed_dim == 1280:
            return "ViT-G"
        case "standard":
            return "standard"
        case "plus" if family == "kolors":
            return "Kolors plus"
        case "plus":
            return "SDXL plus" if sdxl else "plus"
        case "face":
            return "FaceID" if has_lora or projection.tokens <= 4 else "FaceID portrait"
        case "face plus" if projection.token_dim != context_dim:
            return "Kolors FaceID Plus"
        case "face plus":
            return "FaceID Plus V2" if shortcut else "FaceID Plus"
        case "wide" | "time resampler":
            raise CheckpointError("its projection is one of a transformer's adapter, its layers are a UNet's")
        case "face resampler":
            return "FaceID portrait unnorm"
        case "full face":
            return "full face"
