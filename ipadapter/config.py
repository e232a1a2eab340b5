"""What a checkpoint is: its sizes, and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .mechanisms import CROSS_ATTENTION, Mechanism
from .projection_sizes import Projection
from .sites import KeyNumber


@dataclass(frozen=True)
class AdapterConfig:
    """A checkpoint's sizes, and how its adapter is used."""

    variant: str  # its published name, of mechanisms.VARIANTS; presets choose their files by it
    family: str  # a key of families.FAMILIES, or "unknown (N wide)"
    projection: Projection
    context_dim: int  # width of the tokens that to_k_ip and to_v_ip read
    key_numbers: tuple[KeyNumber, ...]  # in rising order
    channels: tuple[int, ...]  # width of keys and values of each key number
    has_lora: bool  # with all its halves
    shortcut: bool  # FaceID Plus V2: the refinement is added to the face tokens instead of replacing them
    mechanism: Mechanism = CROSS_ATTENTION  # how its attention joins the model's
    head_dim: int = 0  # width of a head, where the adapter norms heads itself
    model_width: int = 0  # of the model's picture tokens, where the adapter has queries of its own
    lora_fault: str = ""  # what is wrong with the LoRA in the file, where it cannot be used

    @property
    def tokens(self) -> int:
        """Tokens per image; 0: as many as the encoder gives."""
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
        """Whether tokens, keys and values depend on the timestep, so that they are computed at every step."""
        return self.projection.timed

    @property
    def stretches(self) -> bool:
        """Whether training stretched pictures that are not square, rather than cut them."""
        return self.mechanism.stretches

    @property
    def nothing(self) -> Literal["zeros", "black"]:
        """What the negative rows see by default: embeds of zeros, or those of a black picture."""
        return self.mechanism.no_picture or ("zeros" if self.takes == "pooled" else "black")

    @property
    def of_identity(self) -> bool:
        """Whether it is a PuLID, whose encoder reads a face vector and hidden states together."""
        return self.projection.state_dim > 0

    @property
    def needs_face(self) -> bool:
        return self.face_dim is not None

    @property
    def raw_face(self) -> bool:
        """Whether the face vector keeps its own length (portrait unnorm); all other adapters take it at length 1."""
        return self.projection.kind == "face resampler"


@dataclass(frozen=True)
class Checkpoint:
    """A file's groups of tensors under their published names, without the group's prefix."""

    name: str
    config: AdapterConfig
    image_proj: Mapping[str, Tensor]
    ip_adapter: Mapping[str, Tensor]  # <key number>.to_k_ip.weight, <key number>.to_v_ip.weight: (channels, context)
    lora: Mapping[str, Tensor]  # <number>.to_{q,k,v,out}_lora.{down,up}.weight, even numbers: self-attention
