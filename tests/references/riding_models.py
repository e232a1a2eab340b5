"""Tiny transformers of ComfyUI's own classes, one of every family that references can ride along with."""

import torch

from references.edit_models import FLUX, KREA, QWEN, EditModel

TEXT = 24
SD35 = dict(  # Medium, whose first blocks have a second attention, without the text
    in_channels=16, patch_size=2, out_channels=16, depth=2, input_size=None, adm_in_channels=24,
    context_embedder_config={"target": "torch.nn.Linear", "params": {"in_features": TEXT, "out_features": 128}},
    num_patches=256, pos_embed_max_size=16, qk_norm="rms", pos_embed_scaling_factor=None, x_block_self_attn_layers=[0],
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

# The text and the latent of each are those of edit_models.py.
TRANSFORMERS = {
    "Flux": EditModel("Flux", FLUX, 4),
    "SD3.5 Medium": EditModel("SD3", SD35, 2),
    "Chroma": EditModel("Chroma", CHROMA, 2),
    "Z-Image": EditModel("Lumina2", Z_IMAGE, 2),
    "Lumina 2": EditModel("Lumina2", Z_IMAGE | {"n_kv_heads": 1, "pad_tokens_multiple": None}, 2),
    "Krea 2": EditModel("Krea2", KREA | {"layers": 2}, 2, (16, 1), 32),
    "Qwen-Image": EditModel(
        "QwenImage", QWEN | {"num_layers": 2}, 2, (16, 1), more={"attention_mask": torch.tensor([[1, 1, 1, 1, 0]])}
    ),
}
