"""An adapter's network: the projection to image tokens, and the layers of keys and values of every site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from .attention import Pair
from .catalog import encoder_title
from .config import AdapterConfig, Checkpoint
from .errors import AdapterError, EncoderMismatchError, ModelMismatchError
from .mechanisms import LayerSizes
from .projection import FacePlusProjection, FaceProjection, ImageProjection, TokenProjection
from .projection_sizes import Projection
from .pulid_encoders import STATES, IDEncoder, IDFormer
from .resampler import Resampler, ResamplerSizes
from .sites import KeyNumber
from .time_resampler import TimeResampler


def _resampler(p: Projection, **how: Any) -> nn.Module:
    return Resampler(p.tokens, cast(ResamplerSizes, p.resampler), **how)


def _face_plus(p: Projection, **how: Any) -> nn.Module:
    sizes = cast(ResamplerSizes, p.resampler)
    return FacePlusProjection(cast(int, p.face_dim), p.hidden, p.tokens, sizes.dim, resampler=sizes, **how)


def _time_resampler(p: Projection, **how: Any) -> nn.Module:
    return TimeResampler(p.tokens, cast(ResamplerSizes, p.resampler), p.sinusoids, **how)


def _id_former(p: Projection, **how: Any) -> nn.Module:
    return IDFormer(cast(int, p.face_dim), p.hidden, p.tokens, cast(ResamplerSizes, p.resampler), **how)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "standard": lambda p, **how: ImageProjection(p.embed_dim, p.tokens, p.token_dim, **how),
    "plus": _resampler,
    "full face": lambda p, **how: TokenProjection(p.embed_dim, p.hidden, p.token_dim, **how),
    "face": lambda p, **how: FaceProjection(p.face_dim, p.hidden, p.tokens, p.token_dim, **how),
    "face plus": _face_plus,
    "face resampler": _resampler,
    "wide": lambda p, **how: FaceProjection(p.embed_dim, p.hidden, p.tokens, p.token_dim, **how),
    "time resampler": _time_resampler,
    "id encoder": lambda p, **how: IDEncoder(p.face_dim, p.state_dim, p.hidden, p.token_dim, **how),
    "id former": _id_former,
}


class AdapterNetwork(nn.Module):
    """The network of an adapter, with the published keys: `image_proj.*`, `ip_adapter.<number>.to_{k,v}_ip.weight`.

    `operations` has Linear and LayerNorm: torch.nn, or the host's, which cast weights to the input's dtype and device.
    """

    def __init__(self, config: AdapterConfig, operations: Any = nn, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.config = config
        self.image_proj = NETWORKS[config.projection.kind](config.projection, operations=operations, device=device)
        self.ip_adapter = nn.ModuleDict()
        time = config.projection.resampler.dim if config.projection.resampler else 0
        for number, channels in zip(config.key_numbers, config.channels, strict=True):
            sizes = LayerSizes(config.context_dim, channels, config.head_dim, time, config.model_width)
            self.ip_adapter[str(number)] = config.mechanism.layer(sizes, operations, device=device)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, operations: Any = nn) -> AdapterNetwork:
        """The network of a checkpoint, with the checkpoint's own tensors in their dtypes, not copies.

        With torch.nn as `operations`, all weights need one dtype: `.to(device, dtype)` converts files of several.
        """
        adapter = cls(checkpoint.config, operations, device="meta")
        groups = {"image_proj": checkpoint.image_proj, "ip_adapter": checkpoint.ip_adapter}
        weights = {f"{group}.{key}": tensor for group, tensors in groups.items() for key, tensor in tensors.items()}
        adapter.load_state_dict(weights, strict=True, assign=True)
        return adapter.train(False).requires_grad_(False)

    def split_off_acting(self) -> nn.ModuleDict | None:
        """Take the modules that act while sampling out of the network: by key number; None if the adapter has none.

        They can then be on the device without the projection and the weights of keys and values.
        """
        names = self.config.mechanism.while_sampling
        if not names:
            return None
        layers = {number: cast(nn.ModuleDict, layer) for number, layer in self.ip_adapter.items()}
        return nn.ModuleDict({
            number: nn.ModuleDict({name: layer.pop(name) for name in names}) for number, layer in layers.items()
        })  # fmt: skip

    def project(
        self,
        embeds: Tensor | None = None,
        face: Tensor | None = None,
        face_weight: float = 1.0,
        shortcut: bool | None = None,
    ) -> Tensor:
        """Image tokens (b, tokens, token_dim) of embeds (b, embed) or (b, n, embed) and face vectors (b, face).

        Face vectors may be (b, n, face) for several faces of a picture. `face_weight` multiplies the refinement of
        FaceID Plus V2; `shortcut` overrides whether the adapter is V2. Raises EncoderMismatchError for embeds of
        another width.
        """
        kind = self.config.projection.kind
        if self.config.of_identity:
            raise AdapterError(
                f"{self.config.variant} reads a face and a vision encoder's hidden states together, which only the "
                "Apply PuLID nodes give it: load its file with Load PuLID Model or Load PuLID Flux Model."
            )
        if kind in ("face", "face resampler"):
            face = checked_face(self.config, face)
            return self.image_proj(face if kind == "face" or face.ndim == 3 else face.unsqueeze(1))
        embeds = checked_embeds(self.config, embeds)
        if self.config.timed:
            return embeds  # a time resampler projects them at every step, in `tokens_at`
        if kind != "face plus":
            return self.image_proj(embeds)
        face = checked_face(self.config, face).to(embeds)
        if face.ndim == 3 and face.shape[1] == 1:
            face = face.squeeze(1)
        if face.ndim != 2 or (len(face) != len(embeds) and 1 not in (len(face), len(embeds))):
            raise AdapterError(
                f"{self.config.variant} takes one face per picture, got faces {tuple(face.shape)} "
                f"for {len(embeds)} pictures."
            )
        rows = max(len(face), len(embeds))
        use_shortcut = self.config.shortcut if shortcut is None else shortcut
        return self.image_proj(face.expand(rows, -1), embeds.expand(rows, -1, -1), face_weight, use_shortcut)

    def identify(self, ids: Tensor, states: Sequence[Tensor], side_by_side: bool = False) -> Tensor:
        """PuLID's image tokens (b, tokens, token_dim) of ids (b, id), a face vector and pooled embeds side by side, and
        five hidden states (b, n, width).

        With `side_by_side`, the pictures become a single row, as in the authors' code. Raises EncoderMismatchError for
        inputs of other widths.
        """
        widths = (ids.shape[-1], *(state.shape[-1] for state in states))
        if widths != (self.config.face_dim, *[self.config.projection.state_dim] * STATES):
            raise EncoderMismatchError(
                f"{self.config.variant} needs ids {self.config.face_dim} wide and {STATES} hidden states "
                f"{self.config.projection.state_dim} wide, and got {widths[0]} and {widths[1:]}: load the EVA02-CLIP "
                "L 336 encoder, and a face pack whose vectors are 512 wide (antelopev2)."
            )
        encoder = cast(IDEncoder | IDFormer, self.image_proj)
        return encoder.side_by_side(ids, states) if side_by_side else encoder(ids, states)

    def tokens_at(self, embeds: Tensor, timestep: float) -> tuple[Tensor, Tensor]:
        """For adapters with a time resampler: image tokens (b, tokens, token_dim) of embeds (b, n, embed) at a timestep
        in 0..1000, and the embedding of the timestep (b, dim), an input of `keys_values`.
        """
        embeds = checked_embeds(self.config, embeds)
        times = torch.full((len(embeds),), timestep, dtype=torch.float32, device=embeds.device)
        return self.image_proj(embeds, times)

    def layer(self, key_number: KeyNumber) -> nn.ModuleDict:
        """The adapter's modules of the cross-attention or block with a key number."""
        return cast(nn.ModuleDict, self.ip_adapter[str(key_number)])

    def keys_values(self, tokens: Tensor, key_number: KeyNumber, heads: int = 1, time: Tensor | None = None) -> Pair:
        """Keys and values (b, t, channels) of tokens (b, t, context), for the site with a key number.

        Adapters for transformers norm the keys of each of `heads` heads; some need the embedding of the timestep,
        `time` (b, dim).
        """
        if tokens.shape[-1] != self.config.context_dim:
            raise ModelMismatchError(
                f"{self.config.variant} has layers that read tokens {self.config.context_dim} wide, and these are "
                f"{tokens.shape[-1]} wide: the diffusion model's own text projection belongs in between, "
                "which only Kolors models have."
            )
        if str(key_number) not in self.ip_adapter:
            raise ModelMismatchError(
                f"The diffusion model has a cross-attention number {key_number}, "
                f"the adapter ends at {self.config.key_numbers[-1]}."
            )
        return self.config.mechanism.keys_values(self.layer(key_number), tokens, heads, time)


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
