"""Plain re-implementations of an IP-Adapter to compare with: one projects keys and values in every layer and step, one
only attends to stored ones, which is the least that a layer can cost.

Written for this benchmark from the paper (arXiv:2308.06721, equation 5) and from what our specification says of packs
that work so; it is nobody's code. Both draw what this pack draws.
"""

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from pack.ipadapter.attention import split_heads
from pack.ipadapter.matching import match_keys
from pack.ipadapter.sites import Site
from pack.nodes.applying.keys_values import storage_type
from pack.nodes.sampling.attach import sites_of
from pack.nodes.sampling.unet import patch_at
from performance.rig import Rig


class ProjectingPatch(nn.Module):
    """Replaces one cross-attention: text, plus weight * mask * attention to tokens that are projected on each call.

    In place of the text, `before` is the patch of an adapter that was applied earlier.
    """

    def __init__(
        self, key: nn.Linear, value: nn.Linear, positive: Tensor, negative: Tensor, mask: Tensor | None
    ) -> None:
        super().__init__()
        self.key, self.value = key, value
        self.positive, self.negative, self.mask = positive, negative, mask
        self.before: Callable[..., Tensor] | None = None

    def forward(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        heads = options["n_heads"]
        out = optimized_attention(q, k, v, heads) if self.before is None else self.before(q, k, v, options)
        roles = options["cond_or_uncond"]
        each = len(q) // len(roles)
        tokens = torch.cat([(self.negative if role else self.positive).repeat(each, 1, 1) for role in roles])
        seen = optimized_attention(q, self.key(tokens), self.value(tokens), heads)
        if self.mask is not None:
            seen = seen * self._mask_on_grid(q, options["activations_shape"])
        return out + seen

    def _mask_on_grid(self, q: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The mask resized for every layer and repeated over all channels, on every call."""
        assert self.mask is not None
        small = interpolate(self.mask[None].to(q), size=tuple(shape[-2:]), mode="bilinear")[0]
        return small.flatten(1)[..., None].repeat(len(q), 1, q.shape[-1])


class AttendingPatch(nn.Module):
    """Replaces one cross-attention: text, plus the attention to stored keys and values (rows, heads, tokens, width).

    Nothing is decided: no weights, masks, ranges or rows. The operations are those of this pack.
    """

    def __init__(self, projecting: ProjectingPatch) -> None:
        super().__init__()
        self.projecting = projecting
        self.stored: tuple[Tensor, Tensor] | None = None

    def forward(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        heads = options["n_heads"]
        out = optimized_attention(q, k, v, heads)
        if self.stored is None:
            patch, roles = self.projecting, options["cond_or_uncond"]
            tokens = torch.cat([patch.negative if role else patch.positive for role in roles])
            keys, values = (split_heads(linear(tokens), heads) for linear in (patch.key, patch.value))
            self.stored = keys, values
        queries = q.reshape(len(self.stored[0]), -1, heads, q.shape[-1] // heads).transpose(1, 2)
        return out + scaled_dot_product_attention(queries, *self.stored).transpose(1, 2).reshape(q.shape)


def follow_attending(rig: Rig, model: ModelPatcher, mask: Tensor | None = None) -> ModelPatcher:
    """The model with one image prompt whose keys and values are stored; weight 1, all layers, no mask."""
    return follow_projecting(rig, model, mask, AttendingPatch)


def follow_projecting(
    rig: Rig,
    model: ModelPatcher,
    mask: Tensor | None = None,
    patch_of: Callable[[ProjectingPatch], nn.Module] = lambda patch: patch,
    seed: int = 1,
) -> ModelPatcher:
    """The model with one more image prompt that is projected again in every layer and step; weight 1, all layers."""
    clone, device = model.clone(), model.load_device
    network = rig.adapter.network
    dtype = storage_type(model)
    sites = sites_of(model)
    numbers = match_keys(sites, dict(zip(network.config.key_numbers, network.config.channels, strict=True)))
    with torch.inference_mode():
        embeds = rig.embeds(seed)
        positive, negative = (network.project(one).to(device, dtype) for one in (embeds, torch.zeros_like(embeds)))
        for site, number in zip(sites, numbers, strict=True):
            key, value = (linear(network, number, part, device, dtype) for part in ("k", "v"))
            own = None if mask is None else mask.to(device, dtype)
            patch = ProjectingPatch(key, value, positive, negative, own)
            patch.before = patch_at(clone.model_options["transformer_options"], site)
            _replace(clone, site, patch_of(patch))
    return clone


def chain_projecting(rig: Rig, model: ModelPatcher, prompts: int) -> ModelPatcher:
    """The model with several such image prompts, of the same references as `Rig.chain`."""
    for seed in range(prompts):
        model = follow_projecting(rig, model, seed=seed)
    return model


def linear(network: nn.Module, number: int, part: str, device: torch.device, dtype: torch.dtype) -> nn.Linear:
    """A layer of its own, kept on the device while sampling, as such packs keep theirs."""
    weight: Any = network.get_parameter(f"ip_adapter.{number}.to_{part}_ip.weight")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=device, dtype=dtype)
    layer.weight.data.copy_(weight)
    return layer


def _replace(model: ModelPatcher, site: Site, patch: Callable[..., Tensor]) -> None:
    model.set_model_attn2_replace(patch, *site.block, site.position)
