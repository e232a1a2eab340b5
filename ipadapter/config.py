"""A checkpoint: its tensors, its sizes, and the properties that follow from its sizes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from .mechanisms import CROSS_ATTENTION, Mechanism
from .projection_sizes import Projection
from .published import TRAINED, Training
from .sites import KeyNumber


@dataclass(frozen=True)
class AdapterConfig:
    """The sizes of a checkpoint, and how its adapter is used."""

    variant: str  # its published name, of mechanisms.VARIANTS; presets choose their files by it
    family: str  # a key of families.FAMILIES, or "unknown (N wide)"
    projection: Projection
    context_dim: int  # width of the tokens that to_k_ip and to_v_ip read
    key_numbers: tuple[KeyNumber, ...]  # in rising order
    channels: tuple[int, ...]  # width of keys and values of each key number
    has_lora: bool  # whether the file has a complete LoRA: both matrices of every layer
    shortcut: bool  # FaceID Plus V2: the refinement is added to the face tokens instead of replacing them
    mechanism: Mechanism = CROSS_ATTENTION  # how the adapter's attention joins the model's
    head_dim: int = 0  # width of a head, for adapters that norm heads themselves; else 0
    model_width: int = 0  # width of the model's picture tokens, for adapters with queries of their own; else 0
    lora_fault: str = ""  # why the LoRA in the file cannot be used; empty if it can, or if there is none

    @property
    def tokens(self) -> int:
        """Tokens per image; 0 if there are as many as the encoder's."""
        return self.projection.tokens

    @property
    def token_dim(self) -> int:
        """Width of the projected tokens; twice `context_dim` if the UNet's own text projection is applied to them."""
        return self.projection.token_dim

    @property
    def embed_dim(self) -> int | None:
        """Width of the vision encoder's embeds; None if the adapter uses no vision encoder."""
        return self.projection.embed_dim

    @property
    def face_dim(self) -> int | None:
        """Width of the recogniser's face vector; None if the adapter uses no face."""
        return self.projection.face_dim

    @property
    def takes(self) -> Literal["pooled", "hidden"] | None:
        """Which output of the vision encoder it uses: pooled embeds, or the penultimate layer's hidden states."""
        if self.embed_dim is None:
            return None
        return "pooled" if self.projection.kind in ("standard", "wide") else "hidden"

    @property
    def training(self) -> Training:
        """What the adapter was trained with, if its tensors do not tell it."""
        return TRAINED.get(self.variant, Training())

    @property
    def timed(self) -> bool:
        """Whether tokens, keys and values depend on the timestep, so that they are computed at every step."""
        return self.projection.timed

    @property
    def stretches(self) -> bool:
        """Whether pictures that are not square were stretched in training; otherwise they were cropped."""
        return self.mechanism.stretches

    @property
    def no_picture(self) -> Literal["zeros", "black"]:
        """The default embeds of negative rows: zeros, or the embeds of a black picture."""
        return self.mechanism.no_picture or ("zeros" if self.takes == "pooled" else "black")

    @property
    def is_pulid(self) -> bool:
        """Whether the adapter is a PuLID, whose encoder reads a face vector and hidden states together."""
        return self.projection.state_dim > 0

    @property
    def needs_face(self) -> bool:
        return self.face_dim is not None

    @property
    def raw_face(self) -> bool:
        """Whether the adapter takes the face vector without normalising it to length 1 (portrait unnorm)."""
        return self.projection.kind == "face resampler"


@dataclass(frozen=True)
class Checkpoint:
    """The groups of tensors of a file, under their published names without the group's prefix."""

    name: str
    config: AdapterConfig
    image_proj: Mapping[str, Tensor]
    ip_adapter: Mapping[str, Tensor]  # <key number>.to_k_ip.weight, <key number>.to_v_ip.weight: (channels, context)
    lora: Mapping[str, Tensor]  # <number>.to_{q,k,v,out}_lora.{down,up}.weight, even numbers: self-attention
