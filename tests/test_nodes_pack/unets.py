"""Tiny UNets of ComfyUI's own classes, with the block layout of published models and seeded weights."""

from typing import Any

import torch
from comfy import model_management, model_patcher, supported_models
from torch import nn

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
    "koala shallow": (
        supported_models.KOALA_700M,
        _sdxl([0, 1, 1], -2, [0, 0, 1, 1, 1, 1], num_res_blocks=[1, 1, 1]),
    ),
}
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
    if config.unet_config["num_head_channels"] == 64 and config.unet_config["model_channels"] < 320:
        config.unet_config["num_head_channels"] = 32  # several heads although the model is narrow
    device = model_management.get_torch_device()
    manual_cast = model_management.unet_manual_cast(DTYPES[dtype], device, list(DTYPES.values()))
    config.set_inference_dtype(DTYPES[dtype], manual_cast)
    model = config.get_model({}, "", device=model_management.unet_offload_device())
    if text_projection:  # as Kolors nodes leave it on their models: from the text encoder's width to the UNet's
        model.diffusion_model.encoder_hid_proj = nn.Linear(4096, 2048, dtype=DTYPES[dtype])
    seed_weights(model.diffusion_model, seed, drawn_on)
    return model_patcher.CoreModelPatcher(model, device, model_management.unet_offload_device())


@torch.no_grad()
def seed_weights(module: nn.Module, seed: int, drawn_on: str = "cpu") -> None:
    """Fill every parameter from a generator of its own, scaled so that activations keep their size."""
    generator = torch.Generator(drawn_on).manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, device=drawn_on)
        if parameter.ndim > 1:
            value = noise / max(1, parameter[0].numel()) ** 0.5
        else:
            value = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        parameter.copy_(value.to(parameter.dtype))
