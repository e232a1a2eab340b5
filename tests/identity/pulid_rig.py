"""Tiny models that follow a person by PuLID, and the published predictions of the same models, written out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import comfy.samplers
import torch
from comfy.ldm.flux.layers import DoubleStreamBlock, SingleStreamBlock
from comfy.ldm.modules.attention import CrossAttention, SpatialTransformer
from torch import Tensor

from harness.in_process import sample
from identity import pulid_formulas as formulas
from identity.pulid_files import ID, STATE, pulid
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.applying.apply import Strength
from pack.nodes.applying.pulid import Person, Seen, follow_person
from pack.nodes.loading.adapters import LoadedAdapter, manage
from synthetic import sdxl_channels
from test_nodes_pack import unets
from test_nodes_pack.counting import HOST_NODES
from test_nodes_pack.standins import TOKENS, seeded

V1, V11, FLUX = "pulid_v1.bin", "pulid_v1.1.safetensors", "pulid_flux_v0.9.1.safetensors"
SMALL, SHALLOW = "two layers", "sdxl shallow"
SIZES: dict[str, dict[str, Any]] = {  # of files for a family of models
    SMALL: {"channels": [64, 32]},
    SHALLOW: {"channels": sdxl_channels(32, (1, 2))},
    "flux": {},
}


def bare(family: str = SMALL) -> Any:
    return unets.tiny_model(family, 1)


@cache
def tensors(name: str, family: str, **sizes: Any) -> dict[str, Tensor]:
    return pulid(name, seed=3, **SIZES[family], **sizes)


@cache
def adapter(name: str, family: str = SMALL, **sizes: Any) -> LoadedAdapter:
    return manage(read_checkpoint(tensors(name, family, **sizes), name))


def seen(seed: int = 1, pictures: int = 1) -> Seen:
    """What a face recogniser and a vision encoder might see of a person."""
    states = (seeded((pictures, 10, STATE), seed + 1 + i) for i in range(5))
    return Seen(seeded((pictures, ID), seed), tuple(states))


def follow(
    model: Any, name: str, seed: int = 1, projection: str = "none", zeros: int = 0, combine: str = "mean",
    pictures: int = 1, family: str = SMALL, sizes: Any = None, **strength: Any,
) -> Any:  # fmt: skip
    person = Person(torch.zeros(1, 1, 1, 3), combine, zeros)
    loaded = adapter(name, "flux" if name == FLUX else family, **(sizes or {}))
    rule = None if name == FLUX else projection
    return follow_person(model, loaded, lambda: seen(seed, pictures), person, Strength(**strength), rule)


def drawn(model: Any, steps: int = 1, net: Any = None, **more: Any) -> Tensor:
    """The latent of an SDXL that was sampled by ComfyUI's own guider, with a CFG of 4, perhaps with a ControlNet."""
    guider = comfy.samplers.CFGGuider(model)
    conds = [[[seeded((1, TOKENS, 2048), seed), {"pooled_output": seeded((1, 1280), seed + 1)}]] for seed in (10, 20)]
    if net is not None:
        hint = seeded((1, 128, 64, 3), 7)
        conds = HOST_NODES.ControlNetApplyAdvanced().apply_controlnet(*conds, net, hint, 0.7, 0, 1)
    guider.set_conds(*conds)
    guider.set_cfg(4.0)
    return sample(model, (1, 4, 16, 8), steps, guider, **more)


def published_tokens(name: str, family: str, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Tokens (1, t, width) of a person by the formula, and the encoder's answer to zeros."""
    encoder = formulas.id_encoder if name == V1 else formulas.id_former
    w = formulas.under("pulid_encoder." if name == FLUX else "id_adapter.", tensors(name, family))
    person = seen(seed)
    nobody = encoder(w, 0 * person.ids, [0 * state for state in person.states])
    return encoder(w, person.ids, person.states), nobody


def with_difference(model: Any, name: str) -> Any:
    """A clone with a difference of one weight, as LoRAs of ComfyUI make them."""
    clone = model.clone()
    shape = tuple(clone.model.state_dict()[f"diffusion_model.{name}"].shape)
    clone.add_patches({f"diffusion_model.{name}": ("diff", (seeded(shape, 8),))}, 0.1)
    return clone


def _rows(options: Mapping[str, Any], rows: int, pair: Sequence[Tensor]) -> Tensor:
    """One of a pair for every row: the first for positive rows, the second for negative ones."""
    labels = options["cond_or_uncond"]
    return torch.cat([pair[label].expand(rows // len(labels), -1, -1) for label in labels])


@contextmanager
def published_sdxl(
    model: Any, name: str, projection: str, zeros: int, weight: float, mask: Tensor | None = None, family: str = SMALL
) -> Iterator[None]:
    """The formula in place of every cross-attention of a UNet, numbered as checkpoints number them.

    `mask` is (1, 1, height, width), on the latent.
    """
    unet, pair = model.model.diffusion_model, published_tokens(name, family)
    parts = (*unet.input_blocks, *unet.output_blocks, *filter(None, [getattr(unet, "middle_block", None)]))
    transformers = [module for part in parts for module in part.modules() if isinstance(module, SpatialTransformer)]
    numbers = {id(inner.attn2): n for n, inner in enumerate(b for t in transformers for b in t.transformer_blocks)}
    before = CrossAttention.forward

    def forward(self: Any, x: Tensor, context: Any = None, *args: Any, transformer_options: Any = None, **more: Any):
        if id(self) not in numbers:
            return before(self, x, context, *args, transformer_options=transformer_options, **more)
        layer = f"id_adapter_attn_layers.{2 * numbers[id(self)] + 1}.id_to_"
        tokens = _rows(transformer_options, len(x), pair)
        k, v = (tokens @ tensors(name, family)[f"{layer}{part}.weight"].T for part in "kv")
        q = self.to_q(x)
        text = formulas.attention(q, self.to_k(context), self.to_v(context), self.heads)
        out = formulas.joined(text, q, k, v, self.heads, projection, zeros, weight)
        if mask is not None:
            grid = transformer_options["activations_shape"][-2:]
            part = torch.nn.functional.interpolate(mask, tuple(grid), mode="bilinear").flatten(2).transpose(1, 2)
            out = text + part * (out - text)
        return self.to_out(out)

    CrossAttention.forward = forward
    try:
        yield
    finally:
        CrossAttention.forward = before


@contextmanager
def published_flux(model: Any, weight: float, mask: Tensor | None = None) -> Iterator[None]:
    """The formula behind each second double and each fourth single block; `mask` is (1, tokens, 1)."""
    net, pair = model.model.diffusion_model, published_tokens(FLUX, "flux")
    w = formulas.under("pulid_ca.", tensors(FLUX, "flux"))
    doubles, singles = list(net.double_blocks), list(net.single_blocks)
    before = DoubleStreamBlock.forward, SingleStreamBlock.forward
    first_single = (len(doubles) + 1) // 2

    def added(number: int, img: Tensor, options: Any) -> Tensor:
        add = weight * formulas.crossed(w, number, img, _rows(options, len(img), pair))
        return img + (add if mask is None else mask * add)

    def double(self: Any, img: Tensor, txt: Tensor, *args: Any, **more: Any):
        img, txt = before[0](self, img, txt, *args, **more)
        if self not in doubles[::2]:  # a ControlNet's blocks are in no list
            return img, txt
        return added(doubles.index(self) // 2, img, more["transformer_options"]), txt

    def single(self: Any, both: Tensor, *args: Any, **more: Any):
        both = before[1](self, both, *args, **more)
        if self not in singles[::4]:
            return both
        text, number = more["transformer_options"]["img_slice"][0], first_single + singles.index(self) // 4
        return torch.cat((both[:, :text], added(number, both[:, text:], more["transformer_options"])), 1)

    DoubleStreamBlock.forward, SingleStreamBlock.forward = double, single
    try:
        yield
    finally:
        DoubleStreamBlock.forward, SingleStreamBlock.forward = before
