"""The second judge: diffusers' own UNet and IP-Adapter layers, tiny, with the weights that are being tried."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

# Levels of UNet2DConditionModel as published; only the widths are small. See test_nodes_pack.unets for ComfyUI's.
SDXL: dict[str, Any] = dict(
    down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
    up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
    multipliers=(1, 2, 4),
    transformer_layers_per_block=(1, 2, 10),
    cross_attention_dim=2048,
    attention_head_dim=(1, 2, 4),
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)

FAMILIES: dict[str, dict[str, Any]] = {
    "sd15": dict(
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        multipliers=(1, 2, 4, 4),
        cross_attention_dim=768,
        attention_head_dim=8,  # diffusers' name for the number of heads
    ),
    "sdxl": SDXL,
    "sdxl shallow": SDXL | {"transformer_layers_per_block": (1, 1, 2)},
}


def tiny_unet(family: str, channels: int = 32) -> UNet2DConditionModel:
    """A UNet with the family's layout; its weights are whatever torch draws under the seed 0."""
    config = dict(FAMILIES[family])
    widths = tuple(channels * m for m in config.pop("multipliers"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(sample_size=16, block_out_channels=widths, layers_per_block=2, **config)
    return unet.eval().requires_grad_(False)


def channels_of(unet: UNet2DConditionModel) -> list[int]:
    """Widths of the cross-attentions in checkpoint order, which is the order of diffusers' processors."""
    modules = dict(unet.named_modules())
    names = [name.removesuffix(".processor") for name in unet.attn_processors if ".attn2." in name]
    return [modules[name].to_q.out_features for name in names]


def load(unet: UNet2DConditionModel, adapters: Sequence[dict[str, dict[str, Tensor]]]) -> None:
    """Give a UNet adapters in their published layout, by diffusers' own reader of it."""
    plain = [{group: dict(tensors) for group, tensors in adapter.items()} for adapter in adapters]
    unet._load_ip_adapter_weights(plain, low_cpu_mem_usage=True)  # no first values for what is read


@contextmanager
def loaded(unet: UNet2DConditionModel, adapters: Sequence[dict[str, dict[str, Tensor]]]) -> Iterator[None]:
    """Adapters on a UNet for a while; it is as it was afterwards, which takes less time than a copy of it."""
    before = unet.attn_processors
    try:
        if adapters:
            load(unet, adapters)
        yield
    finally:  # or one case that breaks would break all that come after it
        unet.encoder_hid_proj = None  # first: a resampler has attentions as well
        unet.register_to_config(encoder_hid_dim_type=None)
        unet.set_attn_processor(before)


def set_scales(unet: UNet2DConditionModel, scales: Sequence[float]) -> None:
    processors: list[Any] = list(unet.attn_processors.values())
    for processor in processors:
        if hasattr(processor, "scale"):
            processor.scale = list(scales)


def prepare_face(unet: UNet2DConditionModel, adapter: int, hidden: Tensor, strength: float, shortcut: bool) -> None:
    """FaceID Plus takes what its picture's hidden states (b, images, n, width) are by attribute."""
    projections: Any = unet.encoder_hid_proj
    layer = projections.image_projection_layers[adapter]
    layer.clip_embeds, layer.shortcut, layer.shortcut_scale = hidden, shortcut, strength
