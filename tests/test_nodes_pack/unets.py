"""Tiny UNets of ComfyUI's own classes, with the block layout of published models and seeded weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from comfy import memory_management, model_management, model_patcher, supported_models
from torch import Tensor, nn

# Layouts as in comfy.model_detection.unet_config_from_diffusers_unet; only the widths are ours.
SD15 = {
    "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1, "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "use_linear_in_transformer": False, "context_dim": 768, "adm_in_channels": None,
}  # fmt: skip
SDXL = {
    "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_middle": 10, "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "use_linear_in_transformer": True, "context_dim": 2048, "adm_in_channels": 2816, "num_classes": "sequential",
}  # fmt: skip


def _sdxl(depth: list[int], middle: int, output: list[int], **more: Any) -> dict[str, Any]:
    return (
        SDXL
        | {"transformer_depth": depth, "transformer_depth_middle": middle, "transformer_depth_output": output}
        | more
    )


REFINER = SD15 | {
    "transformer_depth": [0, 0, 1, 1, 1, 1, 0, 0], "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "use_linear_in_transformer": True, "context_dim": 1280, "adm_in_channels": 2560, "num_classes": "sequential",
}  # fmt: skip

FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "sd15": (supported_models.SD15, SD15),
    "sdxl": (supported_models.SDXL, SDXL),
    "sdxl shallow": (supported_models.SDXL, _sdxl([0, 0, 1, 1, 2, 2], 2, [0, 0, 0, 1, 1, 1, 2, 2, 2])),
    "sdxl refiner": (supported_models.SDXLRefiner, REFINER),
    "kolors": (supported_models.SDXL, _sdxl([0, 0, 1, 1, 2, 2], 2, [0, 0, 0, 1, 1, 1, 2, 2, 2])),
    "ssd-1b": (supported_models.SSD1B, _sdxl([0, 0, 2, 2, 4, 4], -1, [0, 0, 0, 1, 1, 2, 10, 4, 4])),
    "vega": (supported_models.Segmind_Vega, _sdxl([0, 0, 1, 1, 2, 2], -1, [0, 0, 0, 1, 1, 1, 2, 2, 2])),
    "koala": (
        supported_models.KOALA_700M,
        _sdxl([0, 2, 5], -2, [0, 0, 2, 2, 5, 5], num_res_blocks=[1, 1, 1]),
    ),
    # The least that has layers of two widths on two grids, one on the way in and one on the way out.
    "two layers": (
        supported_models.KOALA_700M,
        _sdxl([1], -2, [1, 0, 0], num_res_blocks=[0, 1], channel_mult=[1, 2]),
    ),
    "one layer": (
        supported_models.KOALA_700M,
        _sdxl([1], -2, [0, 0], num_res_blocks=[1], channel_mult=[1]),
    ),
}
Layout = tuple[torch.Size, torch.dtype, bool]  # of a parameter; True: a weight of a norm or of a layer
MOST_KEPT = 2**24  # numbers of a model whose weights are kept: 64 MB
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def unet_config(family: str, channels: int, dtype: torch.dtype) -> dict[str, Any]:
    """The keyword arguments of ComfyUI's UNetModel."""
    return {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": channels, "dtype": dtype,
        "use_spatial_transformer": True, "legacy": False, "use_checkpoint": False,
        "use_temporal_attention": False, "use_temporal_resblock": False, **FAMILIES[family][1],
    }  # fmt: skip


def tiny_model(
    family: str, seed: int, channels: int = 32, dtype: str = "fp32", drawn_on: str = "cpu"
) -> model_patcher.ModelPatcher:
    """A MODEL as ComfyUI's loader makes it, of random weights: discrete eps sampling, the family's latent format."""
    config = FAMILIES[family][0](unet_config(family, channels, DTYPES[dtype]))
    return model_of(config, seed, dtype, text_projection=family == "kolors", drawn_on=drawn_on)


def model_of(
    config: Any, seed: int, dtype: str = "fp32", text_projection: bool = False, drawn_on: str = "cpu"
) -> model_patcher.ModelPatcher:
    """A MODEL of any of ComfyUI's configurations, of random weights; a GPU draws billions of them in a second."""
    if config.unet_config.get("num_head_channels") == 64 and config.unet_config["model_channels"] < 320:
        config.unet_config["num_head_channels"] = 32  # several heads although the model is narrow
    device = model_management.get_torch_device()
    manual_cast = model_management.unet_manual_cast(DTYPES[dtype], device, list(DTYPES.values()))
    config.set_inference_dtype(DTYPES[dtype], manual_cast)
    with weights_at_once():
        model = config.get_model({}, "", device=model_management.unet_offload_device())
    if text_projection:  # as Kolors nodes leave it on their models: from the text encoder's width to the UNet's
        model.diffusion_model.encoder_hid_proj = nn.Linear(4096, 2048, dtype=DTYPES[dtype])
    seed_weights(model.diffusion_model, seed, drawn_on)
    return model_patcher.CoreModelPatcher(model, device, model_management.unet_offload_device())


@contextmanager
def weights_at_once() -> Iterator[None]:
    """With dynamic VRAM ComfyUI's layers have no weights before a file gives them theirs; these are to be drawn."""
    waits = getattr(memory_management, "aimdo_enabled", False)
    memory_management.aimdo_enabled = False
    try:
        yield
    finally:
        memory_management.aimdo_enabled = waits


@torch.no_grad()
def seed_weights(module: nn.Module, seed: int, drawn_on: str = "cpu") -> None:
    """Fill every parameter from a generator of its own, scaled so that activations keep their size."""
    layout = tuple((p.shape, p.dtype, name.endswith("weight")) for name, p in module.named_parameters())
    small = sum(shape.numel() for shape, _, _ in layout) < MOST_KEPT
    for parameter, value in zip(module.parameters(), (_kept if small else _drawn)(seed, drawn_on, layout), strict=True):
        parameter.copy_(value)
    for name, buffer in module.named_buffers(recurse=False):
        if name == "pos_embed":  # of SD3, which ComfyUI leaves uninitialised until it loads a file
            buffer.copy_(torch.randn(buffer.shape, generator=torch.Generator().manual_seed(seed)))


def _drawn(seed: int, drawn_on: str, layout: tuple[Layout, ...]) -> Iterator[Tensor]:
    generator = torch.Generator(drawn_on).manual_seed(seed)
    for shape, dtype, is_weight in layout:
        noise = torch.randn(shape, generator=generator, device=drawn_on)
        fan_in = max(1, shape[1:].numel())
        yield (noise / fan_in**0.5 if len(shape) > 1 else 0.1 * noise + float(is_weight)).to(dtype)


@lru_cache(maxsize=4)
def _kept(seed: int, drawn_on: str, layout: tuple[Layout, ...]) -> list[Tensor]:
    """Tests ask for the same model again and again, and copying is ten times as fast as drawing."""
    return list(_drawn(seed, drawn_on, layout))
