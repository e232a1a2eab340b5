"""Small encoders with random weights, in both layouts that encoders are published in."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, SiglipVisionConfig, SiglipVisionModel

from pack.encoders.openclip_shapes import without_values

VISION = {"image_size": 32, "layers": 3, "width": 128, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
SMALL = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT}
Tensors = dict[str, Tensor]


def small_openclip(**more: Any) -> open_clip.CLIP:
    """OpenCLIP's own model with random values large enough for an activation to matter; drawn once for all tests."""
    return deepcopy(_drawn(**more))


@cache
def _drawn(seed: int = 0, quick_gelu: bool = False, **vision: Any) -> open_clip.CLIP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(32, {**VISION, **vision}, TEXT, quick_gelu=quick_gelu).eval()  # pyright: ignore
        for parameter in model.parameters():
            parameter.data = torch.randn_like(parameter) * (0.1 if parameter.ndim > 1 else 0.3)
    return model


def transformers_layout(tensors: Tensors) -> Tensors:
    """A plain OpenCLIP model under the names of transformers: written down here a second time, by hand."""
    found: Tensors = {
        "vision_model.embeddings.class_embedding": tensors["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": tensors["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": tensors["visual.positional_embedding"],
        "visual_projection.weight": tensors["visual.proj"].t().contiguous(),
        "text_model.embeddings.token_embedding.weight": tensors["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": tensors["positional_embedding"],
        "text_projection.weight": tensors["text_projection"].t().contiguous(),
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }  # fmt: skip
    blocks = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    blocks["attn.out_proj"] = "self_attn.out_proj"
    for start, to in (("visual.transformer.resblocks.", "vision_model"), ("transformer.resblocks.", "text_model")):
        for name, tensor in tensors.items():
            if not name.startswith(start):
                continue
            number, rest = name.removeprefix(start).split(".", 1)
            layer, kind = f"{to}.encoder.layers.{number}", rest.rsplit(".", 1)[-1]
            if rest.startswith("attn.in_proj"):
                kind = rest.removeprefix("attn.in_proj_")
                for which, part in zip("qkv", tensor.chunk(3), strict=True):
                    found[f"{layer}.self_attn.{which}_proj.{kind}"] = part.contiguous()
            else:
                found[f"{layer}.{blocks[rest.removesuffix(f'.{kind}')]}.{kind}"] = tensor
    for old, new in norms.items():
        for kind in ("weight", "bias"):
            found[f"{new}.{kind}"] = tensors[f"{old}.{kind}"]
    return found


def transformers_clip(tensors: Tensors, activation: str = "gelu") -> CLIPModel:
    """transformers' own model with the same values: a third opinion."""
    vision = {
        "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8, "hidden_act": activation, "projection_dim": 32,
    }  # fmt: skip
    text = {
        "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1,
        "vocab_size": 49408, "max_position_embeddings": 77, "hidden_act": activation, "projection_dim": 32,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=32)).eval()
    model.load_state_dict(transformers_layout(tensors), strict=False)
    return model


@cache
def siglip() -> tuple[SiglipVisionModel, Tensors]:
    """transformers' SigLIP of a published size, ViT-B-16 at 224 pixels, with its pooling head."""
    with without_values():
        model = SiglipVisionModel(SiglipVisionConfig()).eval()
    model.to_empty(device="cpu")
    for buffer in model.buffers():  # they count the patches
        buffer.copy_(torch.arange(buffer.numel()).view_as(buffer))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.02 if parameter.ndim > 1 else 0.1, generator=generator)
    tensors = {
        name if name.startswith("vision_model.") else f"vision_model.{name}": tensor
        for name, tensor in model.state_dict().items()
    }
    return model, tensors


def save(tensors: Tensors, path: Path, dtype: torch.dtype = torch.float32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.to(dtype).contiguous() for name, t in tensors.items()}, path)
    return path


def pictures(count: int = 2, size: int = 32, seed: int = 5) -> Tensor:
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor) -> None:
    """Equal but for 32-bit sums in another order. A wrong activation differs by more than a hundred times as much."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
