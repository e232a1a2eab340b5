"""An adapter's network: the projection to image tokens, and the layers of keys and values of every site."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from .attention import Pair
from .config import AdapterConfig, Checkpoint
from .errors import ModelMismatchError
from .mechanisms import LayerSizes
from .projecting import NETWORKS, Inputs, checked_embeds
from .sites import KeyNumber


class AdapterNetwork(nn.Module):
    """The network of an adapter, with the published keys: `image_proj.*`, `ip_adapter.<number>.to_{k,v}_ip.weight`.

    `operations` has Linear and LayerNorm: torch.nn, or the host's, which cast weights to the input's dtype and device.
    """

    def __init__(self, config: AdapterConfig, operations: Any = nn, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.config = config
        self.image_proj = NETWORKS[config.projection.kind].make(config.projection, operations=operations, device=device)
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
        inputs = Inputs(embeds, face, face_weight, shortcut)
        return NETWORKS[self.config.projection.kind].project(self.config, self.image_proj, inputs)

    def tokens_at(self, embeds: Tensor, timestep: float) -> tuple[Tensor, Tensor]:
        """For adapters with a time resampler: image tokens (b, tokens, token_dim) of embeds (b, n, embed) at a timestep
        in 0..1000, and the embedding of the timestep (b, dim).
        """
        embeds = checked_embeds(self.config, embeds)
        times = torch.full((len(embeds),), timestep, dtype=torch.float32, device=embeds.device)
        return self.image_proj(embeds, times)

    def layer(self, key_number: KeyNumber) -> nn.ModuleDict:
        """The adapter's modules of the cross-attention or block with a key number."""
        return cast(nn.ModuleDict, self.ip_adapter[str(key_number)])

    def keys_values(self, tokens: Tensor, key_number: KeyNumber, heads: int = 1, time: Tensor | None = None) -> Pair:
        """Keys and values (b, t, channels) of tokens (b, t, context), for the site with a key number.

        Adapters for transformers norm the keys of each of `heads` heads. Those with a time resampler take `tokens` and
        `time` from `mechanisms.joint_attention.read_by_layers`.
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


def split_off_acting(network: AdapterNetwork) -> nn.ModuleDict | None:
    """Take the modules that act at every step out of a network, by key number; None if the adapter has none.

    A host can then load them to the device without the projection and without the weights of keys and values.
    """
    names = network.config.mechanism.while_sampling
    if not names:
        return None
    layers = {number: cast(nn.ModuleDict, layer) for number, layer in network.ip_adapter.items()}
    return nn.ModuleDict({
        number: nn.ModuleDict({name: layer.pop(name) for name in names}) for number, layer in layers.items()
    })  # fmt: skip
