"""The demo models as ComfyUI's own objects: MODEL, CLIP_VISION and VAE from the files that come with the pack."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from comfy import latent_formats, model_base, supported_models
from comfy.ldm.models.autoencoder import AutoencoderKL
from safetensors import safe_open
from torch import Tensor

from ...demo_models.autoencoder import CHANNELS, Autoencoder
from ...demo_models.config import NOISE, UNET, VISION
from ...demo_models.texts import embed_texts
from ...demo_models.words import WordEmbedding
from ...ipadapter.errors import AdapterError

FOLDER = Path(__file__).parents[2] / "demo_models"
ADAPTERS = {"standard": "ip-adapter_demo.safetensors", "plus": "ip-adapter-plus_demo.safetensors"}
# What is asked of ComfyUI's VAE class before its network is replaced by ours: the smallest that it builds.
_SMALLEST = {
    "embed_dim": 1,
    "ddconfig": {
        "double_z": True, "z_channels": 1, "resolution": 8, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1],
        "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
    },
}  # fmt: skip


class DemoLatents(latent_formats.LatentFormat):
    """Latents of 8 channels with mean 0 and deviation 1, so they need no scale."""

    latent_channels = CHANNELS


class DemoConfig(supported_models.SD15):
    """SD1.5's layout with the demo models' widths, trained to predict v."""

    unet_config = {}
    unet_extra_config = {}
    sampling_settings = NOISE
    latent_format = DemoLatents

    def model_type(self, state_dict: Any, prefix: str = "") -> model_base.ModelType:
        return model_base.ModelType.V_PREDICTION

    def inpaint_model(self) -> bool:
        return False  # what more than 4 channels usually mean


def read(name: str, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of one of the demo's files whose names begin so, without that beginning, in 32 bits."""
    path = FOLDER / name
    if not path.is_file():
        raise AdapterError(
            f"The demo's file {path} is missing: it comes with this pack, so please install the pack again."
        )
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (no mapping)
        return {name.removeprefix(prefix): file.get_tensor(name).float() for name in names}


def load_model() -> comfy.model_patcher.ModelPatcher:
    """The UNet as a MODEL, like ComfyUI's checkpoint loader makes it."""
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    config = DemoConfig(UNET)
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device=offload)
    model.diffusion_model.load_state_dict(read("unet.safetensors", "unet."))
    return comfy.model_patcher.CoreModelPatcher(model, device, offload)


def load_words() -> WordEmbedding:
    """The words' vectors, which were trained with the UNet and lie in its file."""
    embedding = WordEmbedding()
    embedding.load_state_dict(read("unet.safetensors", "words."))
    return embedding.eval().requires_grad_(False)


def load_vision() -> comfy.clip_vision.ClipVisionModel:
    """The vision encoder as a CLIP_VISION."""
    with tempfile.TemporaryDirectory() as folder:  # ComfyUI 0.16 takes a file only
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(VISION))
        vision = comfy.clip_vision.ClipVisionModel(str(file))
    vision.load_sd(read("vision.safetensors"))
    setattr(vision, "text", DemoTexts())  # noqa: B010 - where nodes look for an encoder's text tower
    return vision


class DemoTexts:
    """What an encoder's text tower is to other encoders: ten words in the vision encoder's space."""

    def __init__(self) -> None:
        self.words = read("texts.safetensors")["words"]

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeds (n, 128) of texts."""
        return embed_texts(list(texts), self.words)


class DemoVAE(comfy.sd.VAE):
    """ComfyUI's VAE around the demo's small autoencoder: its memory management, tiling and progress stay."""

    def __init__(self) -> None:
        placeholder = AutoencoderKL(**_SMALLEST).state_dict()
        super().__init__(sd=placeholder, config={"params": _SMALLEST}, dtype=torch.float32)
        network = Autoencoder()
        network.load_state_dict(read("vae.safetensors"))
        self.first_stage_model = network.eval().requires_grad_(False)
        self.latent_channels = CHANNELS
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self.first_stage_model, load_device=self.device, offload_device=self.patcher.offload_device
        )
