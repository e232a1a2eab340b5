"""The demo models as ComfyUI's own objects: MODEL, CLIP_VISION and VAE from the files that come with the pack."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import comfy.clip_vision
import comfy.ldm.models.autoencoder
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import numpy as np
import torch
from comfy import latent_formats, model_base, supported_models
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ...demo_models.autoencoder import CHANNELS, Autoencoder
from ...demo_models.config import NOISE, UNET, VISION
from ...demo_models.texts import embed_texts
from ...demo_models.words import WORDS, WordEmbedding
from ...ipadapter.errors import AdapterError
from ...ipadapter.names import inside

FOLDER = Path(__file__).parents[2] / "demo_models"
ADAPTERS = {"standard": "ip-adapter_demo.safetensors", "plus": "ip-adapter-plus_demo.safetensors"}
# The smallest network that ComfyUI's VAE class can build, before it is replaced by ours.
_SMALLEST = {
    "embed_dim": 1,
    "ddconfig": {
        "double_z": True, "z_channels": 1, "resolution": 8, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1],
        "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
    },
}  # fmt: skip


def demo_config() -> "type[supported_models.SD15]":
    """The demo model's class among ComfyUI's `supported_models`. It is made when a demo node runs: a ComfyUI without a
    class that it derives from loses the demo nodes alone.
    """

    class DemoLatents(latent_formats.LatentFormat):
        """Latents of 8 channels with mean 0 and deviation 1, so they need no scale."""

        latent_channels = CHANNELS

    class DemoConfig(supported_models.SD15):
        """SD1.5's layout with the demo models' widths, trained to predict v."""

        unet_config = {}
        unet_extra_config = {}
        sampling_settings = NOISE
        latent_format = DemoLatents

        def model_type(self, state_dict: object, prefix: str = "") -> model_base.ModelType:
            return model_base.ModelType.V_PREDICTION

        def inpaint_model(self) -> bool:
            return False  # ComfyUI takes models with more than 4 channels for inpainting models

    return DemoConfig


def is_demo_model(model: comfy.model_patcher.ModelPatcher) -> bool:
    return type(model.model.model_config).__name__ == "DemoConfig"


unrandom = torch.random.fork_rng(devices=[])  # constructors draw random weights, which must not change the global RNG


def read(name: str, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of one of the demo's files whose names begin with `prefix`, without the prefix, in float32."""
    with came_with_the_pack(FOLDER / name) as path, safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (no mapping)
        return {name.removeprefix(prefix): file.get_tensor(name).float().clone() for name in names}


@contextmanager
def came_with_the_pack(path: Path) -> Iterator[Path]:
    """A context that raises AdapterError, with advice, if a file of the demo is missing or damaged."""
    try:
        if not path.is_file():
            raise AdapterError(
                f"The demo's file {path} is missing: it comes with this pack, so please install the pack again."
            )
        yield path
    except (SafetensorError, OSError) as error:  # Pillow's errors are OSErrors
        raise AdapterError(
            f"The demo's file {path} is damaged: it comes with this pack, so install it again."
        ) from error


def tensors_of(network: nn.Module, name: str, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a network from one of the demo's files; AdapterError if the file has other tensors."""
    tensors = read(name, prefix)
    found, expected = ({key: t.shape for key, t in part.items()} for part in (tensors, network.state_dict()))
    if wrong := [key for key in {**expected, **found} if found.get(key) != expected.get(key)]:
        raise AdapterError(
            f"The demo's file {FOLDER / name} is damaged, see its {prefix}{wrong[0]}: it comes with this pack, so "
            "install it again."
        )
    return tensors


@unrandom
def load_model() -> comfy.model_patcher.ModelPatcher:
    """The UNet as a MODEL, like ComfyUI's checkpoint loader makes it."""
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    config = demo_config()(UNET)
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device=offload)
    model.diffusion_model.load_state_dict(tensors_of(model.diffusion_model, "unet.safetensors", "unet."))
    return comfy.model_patcher.CoreModelPatcher(model, device, offload)


@unrandom
def load_words() -> WordEmbedding:
    """The vectors of the demo's words, which were trained with the UNet and are in its file."""
    embedding = WordEmbedding()
    embedding.load_state_dict(tensors_of(embedding, "unet.safetensors", "words."))
    return embedding.train(False).requires_grad_(False)


@unrandom
def load_vision() -> comfy.clip_vision.ClipVisionModel:
    """The vision encoder as a CLIP_VISION."""
    with tempfile.TemporaryDirectory() as folder:  # ComfyUI 0.16 can load an encoder from a file only
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(VISION))
        vision = comfy.clip_vision.ClipVisionModel(str(file))
    vision.load_sd(tensors_of(vision.model, "vision.safetensors"))
    setattr(vision, "text", DemoTexts())  # noqa: B010 - where nodes look for an encoder's text tower
    return vision


def load_reference(name: str) -> Tensor:
    """One of the demo's pictures by its name, (1, height, width, 3), 0 to 1."""
    with came_with_the_pack(inside(FOLDER / "references", f"{name}.png", plain=True)) as path:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).unsqueeze(0)


class DemoTexts:
    """The text tower of the demo's encoder: embeds of ten words, in the space of the vision encoder's embeds."""

    def __init__(self) -> None:
        tensors = read("texts.safetensors")
        if (words := tensors.get("words")) is None or words.shape != (len(WORDS), VISION["projection_dim"]):
            raise AdapterError(f"The demo's file {FOLDER / 'texts.safetensors'} is damaged: install the pack again.")
        self.words = words

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeds (n, 128) of texts."""
        return embed_texts(list(texts), self.words)


class DemoVAE(comfy.sd.VAE):
    """ComfyUI's VAE around the demo's small autoencoder: its memory management, tiling and progress stay."""

    @unrandom
    def __init__(self) -> None:
        placeholder = comfy.ldm.models.autoencoder.AutoencoderKL(**_SMALLEST).state_dict()
        super().__init__(sd=placeholder, config={"params": _SMALLEST}, dtype=torch.float32)
        network = Autoencoder()
        network.load_state_dict(tensors_of(network, "vae.safetensors"))
        self.first_stage_model = network.train(False).requires_grad_(False)
        self.latent_channels = CHANNELS
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self.first_stage_model, load_device=self.device, offload_device=self.patcher.offload_device
        )
