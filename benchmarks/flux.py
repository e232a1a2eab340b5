"""A Flux.1-dev at its real widths, of random weights, and the adapters for it at their published sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import comfy.supported_models
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

import synthetic_transformers
import transformer_rig
from harness.in_process import following
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.applying.encoding import Reference
from pack.nodes.loading.adapters import LoadedAdapter, manage
from performance.rig import half_mask
from test_nodes_pack.standins import seeded
from test_nodes_pack.unets import DTYPES, model_of

HEAD, TEXT, POOLED = 128, 4096, 768  # widths of Flux.1-dev
FILES = {"XLabs v2": "flux-ip-adapter-v2.safetensors", "InstantX": "flux.1-dev-ip-adapter.bin"}


@dataclass(frozen=True)
class FluxRig:
    """A bare Flux and what is sampled from it and its patched clones, one row in a call, as at CFG 1."""

    size: int = 128  # latent pixels
    heads: int = 24
    blocks: tuple[int, int] = (19, 38)  # double, single
    text: int = 512  # tokens
    most: int = 2304  # of an adapter's tokens, and of the channels in its projection
    dtype: str = "bf16"
    drawn_on: str = "cpu"  # the random weights

    def bare(self) -> ModelPatcher:
        double, single = self.blocks
        config = comfy.supported_models.Flux(dict(
            image_model="flux", in_channels=16, out_channels=16, vec_in_dim=POOLED, context_in_dim=TEXT,
            hidden_size=HEAD * self.heads, num_heads=self.heads, mlp_ratio=4.0, depth=double,
            depth_single_blocks=single, axes_dim=[16, 56, 56], theta=10000, patch_size=2, qkv_bias=True,
            guidance_embed=True, txt_ids_dims=[],
        ))  # fmt: skip
        return model_of(config, 1, self.dtype, drawn_on=self.drawn_on)

    def follow(self, model: ModelPatcher, name: str, **strength: Any) -> ModelPatcher:
        """The model with one image prompt by an adapter of FILES."""
        loaded = make_adapter(self, name)
        embeds = seeded((1, loaded.config.projection.embed_dim), 1)
        return following(model, loaded, Reference(embeds=embeds, negative_embeds=torch.zeros_like(embeds)), **strength)

    def sample(self, model: ModelPatcher, steps: int = 2, **more: Any) -> Tensor:
        text = [[seeded((1, self.text, TEXT), 10), {"pooled_output": seeded((1, POOLED), 11), "guidance": 3.5}]]
        sigmas = tuple(torch.linspace(1.0, 0.0, steps + 1).tolist())
        comfy.utils.set_progress_bar_enabled(False)
        return transformer_rig.sample(model, "flux", sigmas, shape=(1, 16, self.size, self.size), positive=text, **more)


@lru_cache(maxsize=4)
def make_adapter(rig: FluxRig, name: str) -> LoadedAdapter:
    """A published adapter's tensors, as many and as wide as the rig's blocks, drawn where the rig draws its weights."""
    sizes: dict[str, Any] = synthetic_transformers.PUBLISHED[FILES[name]] | {"channels": HEAD * rig.heads}
    sizes |= {"blocks": rig.blocks[0] if name.startswith("XLabs") else sum(rig.blocks)}
    sizes |= {size: min(sizes[size], rig.most) for size in ("tokens", "hidden") if size in sizes}
    generator = torch.Generator(rig.drawn_on).manual_seed(7)

    def drawn(x: Any) -> Any:
        if isinstance(x, Mapping):
            return {key: drawn(value) for key, value in x.items()}
        noise = torch.randn(x.shape, generator=generator, device=rig.drawn_on, dtype=DTYPES[rig.dtype])
        return noise / max(1, x.shape[1:].numel()) ** 0.5

    return manage(read_checkpoint(drawn(synthetic_transformers.adapter(device="meta", **sizes)), name))


FLUX_CASES: dict[str, Callable[[FluxRig, ModelPatcher], ModelPatcher]] = {
    "XLabs v2": lambda rig, model: rig.follow(model, "XLabs v2"),
    "XLabs v2 masked": lambda rig, model: rig.follow(model, "XLabs v2", mask=half_mask()),
    "InstantX": lambda rig, model: rig.follow(model, "InstantX"),
    "InstantX masked": lambda rig, model: rig.follow(model, "InstantX", mask=half_mask()),
}
