"""Sizes of the demo models, as keywords of the classes that ComfyUI builds from them."""

CONTEXT = 64  # width of the text tokens
TOKENS = 4  # text tokens per prompt
SIZE = 96  # pixels: the pictures that the models learned from

# SD1.5's layout: 16 cross-attentions, in the same blocks. Only the widths are smaller.
UNET = {
    "image_size": 32, "in_channels": 8, "out_channels": 8, "model_channels": 32, "channel_mult": [1, 2, 2, 2],
    "num_res_blocks": [2, 2, 2, 2], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "num_heads": 4, "num_head_channels": -1,
    "use_spatial_transformer": True, "use_linear_in_transformer": False, "context_dim": CONTEXT,
    "adm_in_channels": None, "legacy": False, "use_checkpoint": False,
    "use_temporal_attention": False, "use_temporal_resblock": False,
}  # fmt: skip

# The noise schedule of DDPM (arXiv:2006.11239), which ends at pure noise. Stable Diffusion's own schedule ends a little
# earlier; the UNet would have to guess a small picture's mean colour from the noise. The betas rise evenly, which
# ComfyUI calls "sqrt_linear"; its "linear" means that their square roots rise evenly.
NOISE = {"beta_schedule": "sqrt_linear", "linear_start": 1e-4, "linear_end": 2e-2, "timesteps": 1000}

VISION = {
    "model_type": "clip_vision_model", "hidden_act": "gelu", "hidden_size": 96, "intermediate_size": 192,
    "num_attention_heads": 4, "num_hidden_layers": 4, "num_channels": 3, "patch_size": 12, "projection_dim": 128,
    "image_size": SIZE, "layer_norm_eps": 1e-5,
}  # fmt: skip
