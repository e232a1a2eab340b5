"""Tiny edit models of ComfyUI's own classes, which take reference pictures themselves, sampled in this process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from test_nodes_pack.standins import seeded
from test_nodes_pack.unets import seed_weights

SIZE = (8, 6)  # latent pixels of the canvas and of the first reference
OTHER = (4, 10)  # of the second reference
FLUX = dict(
    image_model="flux", in_channels=16, out_channels=16, vec_in_dim=24, context_in_dim=24, hidden_size=64,
    mlp_ratio=2.0, num_heads=2, depth=2, depth_single_blocks=2, axes_dim=[8, 12, 12], theta=10000, patch_size=2,
    qkv_bias=True, guidance_embed=True, txt_ids_dims=[],
)  # fmt: skip
FLUX2 = FLUX | dict(
    image_model="flux2", in_channels=128, out_channels=128, vec_in_dim=None, axes_dim=[8, 8, 8, 8], theta=2000,
    patch_size=1, qkv_bias=False, txt_ids_dims=[3], global_modulation=True, mlp_silu_act=True, ops_bias=False,
    default_ref_method="index", ref_index_scale=10.0,
)  # fmt: skip
QWEN = dict(
    image_model="qwen_image", in_channels=64, out_channels=16, num_layers=3, attention_head_dim=32,
    num_attention_heads=2, joint_attention_dim=24, axes_dims_rope=(8, 12, 12),
)  # fmt: skip
KREA = dict(
    image_model="krea2", features=64, tdim=32, txtdim=16, heads=2, kvheads=1, multiplier=2, layers=3, txtlayers=2,
    txtheads=2, txtkvheads=2,
)  # fmt: skip
MAGE = dict(
    image_model="mage_flow", in_channels=128, out_channels=128, num_layers=3, attention_head_dim=32,
    num_attention_heads=2, joint_attention_dim=24, axes_dims_rope=(8, 12, 12),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class EditModel:
    """A model of ComfyUI: its class among the supported ones, its sizes, and what its conditionings need."""

    name: str
    sizes: dict[str, Any]
    layers: int
    channels: tuple[int, ...] = (16,)  # of a latent, with the frames of models that have them
    text: int = 24  # width
    more: dict[str, Any] = field(default_factory=dict)

    def latent(self, seed: int, size: tuple[int, int] = SIZE) -> Tensor:
        return seeded((1, *self.channels, *size), seed) * 0.5

    @property
    def known(self) -> bool:
        """Whether this release of ComfyUI has the model, and gives it references."""
        if not hasattr(comfy.supported_models, self.name):
            return False
        return "ref_latents" in signature(network(self).forward).parameters


METHOD = "reference_latents_method"
EVERY_MODEL = {
    "Flux Kontext": EditModel("Flux", FLUX, 4, more={METHOD: "offset"}),
    "Flux.2": EditModel("Flux2", FLUX2, 4, channels=(128,)),
    "Qwen-Image-Edit": EditModel(
        "QwenImage", QWEN, 3, (16, 1),
        more={METHOD: "index_timestep_zero", "attention_mask": torch.tensor([[1, 1, 1, 1, 0]])},
    ),
    "Krea 2": EditModel("Krea2", KREA, 3, (16, 1), 32, {METHOD: "index"}),
    "Mage-Flow": EditModel("MageFlow", MAGE, 3, (128,)),
}  # fmt: skip


@cache
def model_of(kind: EditModel) -> ModelPatcher:
    config = getattr(comfy.supported_models, kind.name)(dict(kind.sizes))
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", "cpu")
    seed_weights(model.diffusion_model, 1)
    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)


def network(kind: EditModel) -> Any:
    return model_of(kind).get_model_object("diffusion_model")


MODELS = {title: kind for title, kind in EVERY_MODEL.items() if kind.known}


def texts(kind: EditModel, seed: int, references: Sequence[Tensor] = ()) -> list[list[Any]]:
    """A CONDITIONING of five tokens with reference pictures, as Set Reference Latent leaves them there."""
    given = {"reference_latents": list(references)} if references else {}
    pooled = {"pooled_output": seeded((1, 24), seed + 1)}
    return [[seeded((1, 5, kind.text), seed), {**pooled, **kind.more, **given}]]


def sample(
    model: ModelPatcher,
    kind: EditModel,
    references: Sequence[Tensor],
    cfg: float = 1.0,
    steps: int = 2,
    batch: int = 1,
    negative: Sequence[Tensor] | None = None,
) -> Tensor:
    """The latents that ComfyUI's guider samples by euler; the negative text has the same references unless given."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(texts(kind, 10, references), texts(kind, 20, references if negative is None else negative))
    guider.set_cfg(cfg)
    noise = torch.cat([seeded((1, *kind.channels, *SIZE), 5 + row) for row in range(batch)])
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    with torch.inference_mode():
        return guider.sample(noise, torch.zeros_like(noise), comfy.samplers.ksampler("euler"), sigmas, seed=5)


def attentions(model: ModelPatcher, see: Callable[[Tensor, Tensor, Any], None]) -> ModelPatcher:
    """A clone with another pack's override, which sees the queries, keys and mask of every attention that it gets."""
    clone = model.clone()

    def override(
        function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **more: Any
    ) -> Tensor:
        see(q, k, mask)
        return function(q, k, v, heads, mask, **more)

    clone.model_options["transformer_options"]["optimized_attention_override"] = override
    return clone
