"""Tiny transformers of ComfyUI's own classes, one of every family that references can ride along with.

edits.py makes edit models of the same parts.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import comfy.model_patcher
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from .standins import seeded
from .unets import DTYPES, seed_weights

SIZE = (8, 6)  # latent pixels of the canvas and of the first reference
TEXT = 24  # width of most texts
FLUX = dict(
    image_model="flux", in_channels=16, out_channels=16, vec_in_dim=TEXT, context_in_dim=TEXT, hidden_size=64,
    mlp_ratio=2.0, num_heads=2, depth=2, depth_single_blocks=2, axes_dim=[8, 12, 12], theta=10000, patch_size=2,
    qkv_bias=True, guidance_embed=True, txt_ids_dims=[],
)  # fmt: skip
SD35 = dict(  # Medium, whose first blocks have a second attention, without the text
    in_channels=16, patch_size=2, out_channels=16, depth=2, input_size=None, adm_in_channels=TEXT,
    context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": TEXT, "out_features": 128}},
    num_patches=256, pos_embed_max_size=16, qk_norm="rms", pos_embed_scaling_factor=None, x_block_self_attn_layers=[0],
)  # fmt: skip
QWEN = dict(
    image_model="qwen_image", in_channels=64, out_channels=16, num_layers=2, attention_head_dim=32,
    num_attention_heads=2, joint_attention_dim=TEXT, axes_dims_rope=(8, 12, 12),
)  # fmt: skip
CHROMA = dict(
    image_model="chroma", in_channels=64, out_channels=64, in_dim=64, out_dim=64, hidden_dim=64, n_layers=1,
    hidden_size=64, num_heads=2, depth=1, depth_single_blocks=1, axes_dim=[8, 12, 12], theta=10000, patch_size=2,
    mlp_ratio=2.0, qkv_bias=True, context_in_dim=TEXT, vec_in_dim=0, txt_ids_dims=[],
)  # fmt: skip
Z_IMAGE = dict(
    image_model="lumina2", patch_size=2, in_channels=16, dim=256, n_layers=2, n_refiner_layers=1, n_heads=2,
    n_kv_heads=2, multiple_of=32, ffn_dim_multiplier=1.0, qk_norm=True, cap_feat_dim=TEXT, axes_dims=[32, 48, 48],
    axes_lens=[64, 64, 64], rope_theta=256.0, z_image_modulation=True, time_scale=1000.0, pad_tokens_multiple=32,
)  # fmt: skip
KREA = dict(
    image_model="krea2", features=64, tdim=32, txtdim=16, heads=2, kvheads=1, multiplier=2, layers=2, txtlayers=2,
    txtheads=2, txtkvheads=2,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Transformer:
    """A model of ComfyUI: its class among the supported ones, its sizes, and what its conditionings need."""

    name: str
    sizes: dict[str, Any]
    layers: int
    channels: tuple[int, ...] = (16,)  # of a latent, with the frames of models that have them
    text: int = TEXT  # width
    more: dict[str, Any] = field(default_factory=dict)

    def latent(self, seed: int, size: tuple[int, int] = SIZE) -> Tensor:
        return seeded((1, *self.channels, *size), seed) * 0.5

    @property
    def known(self) -> bool:
        """Whether this release of ComfyUI has the model; since 0.30 the attentions of Krea 2 tell their block."""
        if not hasattr(comfy.supported_models, self.name):
            return False
        return self.name != "Krea2" or "block_index" in inspect.getsource(import_module("comfy.ldm.krea2.model"))


EVERY_TRANSFORMER = {
    "Flux": Transformer("Flux", FLUX, 4),
    "SD3.5 Medium": Transformer("SD3", SD35, 2),
    "Qwen-Image": Transformer(
        "QwenImage", QWEN, 2, (16, 1), more={"attention_mask": torch.tensor([[1, 1, 1, 1, 0]])}
    ),
    "Chroma": Transformer("Chroma", CHROMA, 2),
    "Z-Image": Transformer("Lumina2", Z_IMAGE, 2),
    "Lumina 2": Transformer("Lumina2", Z_IMAGE | {"n_kv_heads": 1, "pad_tokens_multiple": None}, 2),
    "Krea 2": Transformer("Krea2", KREA, 2, (16, 1), 32),
}  # fmt: skip
TRANSFORMERS: dict[str, Any] = {title: kind for title, kind in EVERY_TRANSFORMER.items() if kind.known}


@cache
def model_of(kind: Transformer, dtype: str = "fp32") -> ModelPatcher:
    config = getattr(comfy.supported_models, kind.name)(dict(kind.sizes))
    config.set_inference_dtype(DTYPES[dtype], None)
    model = config.get_model({}, "", "cpu")
    seed_weights(model.diffusion_model, 1)
    model.to(DTYPES[dtype])
    device = torch.device("cpu")
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=device)


def text_of(kind: Transformer, seed: int, references: Sequence[Tensor] = ()) -> list[list[Any]]:
    """A CONDITIONING of five tokens, perhaps with reference pictures as Set Reference Latent leaves them there."""
    given = {"reference_latents": list(references)} if references else {}
    pooled = {"pooled_output": seeded((1, TEXT), seed + 1)}
    return [[seeded((1, 5, kind.text), seed), {**pooled, **kind.more, **given}]]


class TestTransformer(io.ComfyNode):
    """A tiny transformer, a prompt and a latent; seed 0 is the empty latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Combo.Input("kind", options=list(TRANSFORMERS)),
            io.Int.Input("seed"),
            io.Int.Input("height", default=SIZE[0], optional=True),
            io.Int.Input("width", default=SIZE[1], optional=True),
        ]
        outputs = [io.Model.Output(), io.Conditioning.Output(), io.Latent.Output()]
        return io.Schema(node_id="TestTransformer", category="testing", inputs=inputs, outputs=outputs)

    @classmethod
    def execute(cls, kind: str, seed: int, height: int = SIZE[0], width: int = SIZE[1]) -> io.NodeOutput:
        tiny = TRANSFORMERS[kind]
        latent = tiny.latent(seed, (height, width)) * bool(seed)
        return io.NodeOutput(model_of(tiny), text_of(tiny, seed), {"samples": latent})


NODES: list[type[io.ComfyNode]] = [TestTransformer]
