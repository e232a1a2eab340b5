"""Tiny transformers with image prompts, sampled in this process by ComfyUI's own guider."""

from functools import cache
from typing import Any

import comfy.controlnet
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.samplers
import comfy.sd
import comfy.supported_models
import torch
from comfy.ldm.flux.controlnet import ControlNetFlux
from comfy.model_patcher import ModelPatcher
from torch import Tensor

import synthetic_transformers
import tiny_transformers as tiny
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.applying.apply import Request, Strength, apply_adapter
from pack.nodes.applying.encoding import Reference
from pack.nodes.loading.adapters import LoadedAdapter, manage
from test_nodes_pack.standins import seeded
from test_nodes_pack.unets import seed_weights

TEXT_TOKENS = 5
FAMILY = {"XLabs Flux": "flux", "InstantX Flux": "flux", "InstantX SD3.5": "sd3.5"}


def tiny_model(family: str, seed: int = 0, **sizes: Any) -> ModelPatcher:
    """A MODEL as Load Diffusion Model makes it of a file with these tensors, which it copies."""
    return comfy.sd.load_diffusion_model_state_dict(dict(_tensors(family, seed, **sizes)))


@cache
def _tensors(family: str, seed: int, **sizes: Any) -> dict[str, Tensor]:
    return tiny.STATES[family](seed, **sizes)


def model_of(family: str, seed: int = 0) -> ModelPatcher:
    """A Chroma, whose file tells no widths but the published ones; of ComfyUI's own classes."""
    config = comfy.supported_models.Chroma(dict(
        image_model=family, in_channels=64, out_channels=64, in_dim=64, out_dim=256, hidden_dim=64, n_layers=1,
        hidden_size=256, num_heads=2, depth=2, depth_single_blocks=2, axes_dim=[16, 56, 56], theta=10000, patch_size=2,
        mlp_ratio=2.0, qkv_bias=True, context_in_dim=tiny.TEXT, vec_in_dim=0, txt_ids_dims=[],
    ))  # fmt: skip
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "")
    seed_weights(model.diffusion_model, seed)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, device, comfy.model_management.unet_offload_device())


def flux_control_net(seed: int = 3) -> comfy.controlnet.ControlNet:
    """ComfyUI's own ControlNet for a tiny Flux, of random weights."""
    sizes = tiny_model("flux").model.model_config.unet_config
    sizes = {name: value for name, value in sizes.items() if name != "dtype"}
    network = ControlNetFlux(operations=comfy.ops.disable_weight_init, dtype=torch.float32, **sizes)
    seed_weights(network, seed)
    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(network, load_device=device, extra_conds=["y", "guidance"])


def state(kind: str, seed: int = 7, **sizes: Any) -> Any:
    """The tensors of an adapter, as published."""
    return synthetic_transformers.adapter(kind, seed=seed, **(tiny.ADAPTERS[kind] | sizes))


def adapter(kind: str, seed: int = 7) -> LoadedAdapter:
    return manage(read_checkpoint(state(kind, seed), f"tiny {kind}"))


def embeds(kind: str, seed: int = 1, images: int = 1) -> Tensor:
    """What a vision encoder might give: pooled, or tokens for SD3.5."""
    return seeded((images, tiny.EMBED["pooled"]) if FAMILY[kind] == "flux" else (images, 9, tiny.EMBED["hidden"]), seed)


def follow(
    model: ModelPatcher, loaded: LoadedAdapter, seen: Tensor, per_frame: bool = False, **strength: Any
) -> ModelPatcher:
    """The model with one more image prompt; what the negative rows see is nothing."""
    reference = Reference(embeds=seen, negative_embeds=torch.zeros_like(seen[:1]), per_frame=per_frame)
    return apply_adapter(model, loaded, [Request(reference, Strength(**strength))]).model


def follow_kind(kind: str) -> ModelPatcher:
    """A tiny model of the family that follows a picture by an adapter of this kind."""
    return follow(tiny_model(FAMILY[kind]), adapter(kind), embeds(kind))


def texts(family: str, seed: int, **more: Any) -> list[list[Any]]:
    """A CONDITIONING; `more` goes into its options."""
    pooled = seeded((1, tiny.POOLED[family]), seed + 1)
    return [[seeded((1, TEXT_TOKENS, tiny.TEXT), seed), {"pooled_output": pooled, **more}]]


def sample(
    model: ModelPatcher, family: str, sigmas: tuple[float, ...] = (1.0, 0.6, 0.0), cfg: float = 1.0,
    shape: tuple[int, ...] = (1, 16, 8, 8), sampler: Any = None, positive: Any = None, gradients: bool = False,
) -> Tensor:  # fmt: skip
    """The latent that ComfyUI's guider samples; with `gradients`, the sampler may ask for some."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive or texts(family, 10), texts(family, 20))
    guider.set_cfg(cfg)
    with torch.inference_mode(not gradients):
        sampler = sampler or comfy.samplers.ksampler("euler")
        return guider.sample(seeded(shape, 5), torch.zeros(shape), sampler, torch.tensor(sigmas), seed=5)


def predict(model: ModelPatcher, family: str, sigma: float = 0.7, **more: Any) -> tuple[Tensor, Tensor]:
    """A noisy latent, and what the model predicts for it, all in one call of a sampler."""
    seen: dict[str, Tensor] = {}

    def look(model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, **_: Any) -> Tensor:
        denoised = model(x, sigmas[:1].expand(len(x)), **(extra_args or {}))
        seen.update(x=x.clone(), v=(x - denoised) / sigmas[0])
        return denoised

    sample(model, family, (sigma, 0.0), sampler=comfy.samplers.KSAMPLER(look), **more)
    return seen["x"], seen["v"]
