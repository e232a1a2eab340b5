"""Tiny transformers of ComfyUI's own classes, one of every family that references can ride along with."""

import torch

from references.edit_models import FLUX, QWEN, EditModel

TEXT = 24
SD35 = dict(  # Medium, whose first blocks have a second attention, without the text
    in_channels=16, patch_size=2, out_channels=16, depth=2, input_size=None, adm_in_channels=24,
    context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": TEXT, "out_features": 128}},
    num_patches=256, pos_embed_max_size=16, qk_norm="rms", pos_embed_scaling_factor=None, x_block_self_attn_layers=[0],
)  # fmt: skip

# The text and the latent of each are those of edit_models.py.
TRANSFORMERS = {
    "Flux": EditModel("Flux", FLUX, 4),
    "SD3.5 Medium": EditModel("SD3", SD35, 2),
    "Qwen-Image": EditModel(
        "QwenImage", QWEN | {"num_layers": 2}, 2, (16, 1), more={"attention_mask": torch.tensor([[1, 1, 1, 1, 0]])}
    ),
}
