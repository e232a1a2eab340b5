"""A narrow EVA02-CLIP of timm's own code, with as many blocks as PuLID reads states of."""

import sys
from typing import Any

import torch
from comfy_api.latest import io
from timm.models.eva import Eva
from torch import Tensor, nn

from .unets import seed_weights

SIZE, WIDTH, HEADS, POOLED, REFERENCE = 28, 64, 2, 32, 4  # REFERENCE: side of the grid that positions are counted on
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Tower(nn.Module):
    """timm's tower where OpenCLIP has it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.trunk = Eva(
            img_size=SIZE, patch_size=14, embed_dim=WIDTH, depth=20, num_heads=HEADS, mlp_ratio=4 * 2 / 3,
            qkv_fused=False, swiglu_mlp=True, scale_mlp=True, scale_attn_inner=True, use_rot_pos_emb=True,
            ref_feat_shape=(REFERENCE, REFERENCE), global_pool="token", num_classes=POOLED,
        ).train(False)  # fmt: skip
        seed_weights(self.trunk, seed)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x)


def vision(openclip: Any, tower: Tower) -> Any:
    """The encoder as the pack's OpenCLIP loader hands it over; `openclip` is the module of that loader."""
    encoder = openclip.OpenClipEncoder(tower, None, "narrow EVA", "EVA-CLIP", "own", SIZE, MEAN, STD, True)
    return openclip.OpenClipVision(encoder, lambda device: torch.float32)


class TestEvaClip(io.ComfyNode):
    """Stands in for PulidEvaClipLoader, whose file is of a gigabyte."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestEvaClip",
            category="testing",
            inputs=[io.Int.Input("seed", default=0, min=0, max=2**31)],
            outputs=[io.Custom("EVA_CLIP").Output()],
        )

    @classmethod
    def execute(cls, seed: int) -> io.NodeOutput:
        loader = next(module for name, module in sys.modules.items() if name.endswith(".nodes.loading.openclip"))
        return io.NodeOutput(vision(loader, Tower(seed)))
