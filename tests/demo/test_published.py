"""The demo models that come with the pack: their files, and the noise that ComfyUI samples them by."""

import pytest
import torch
from safetensors import safe_open

pytest.importorskip("comfy.ldm", reason="needs ComfyUI; set COMFYUI_PATH")

from harness.host import ROOT
from ipadapter.checkpoint import read_checkpoint, read_file
from training import unet

FOLDER = ROOT / "demo_models"
FILES = {
    "vae.safetensors", "vision.safetensors", "unet.safetensors", "ip-adapter_demo.safetensors",
    "ip-adapter-plus_demo.safetensors", "classifier.safetensors", "texts.safetensors",
    "textures.safetensors",
}  # fmt: skip


def tensors_of(file):
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118


def test_the_published_models_are_all_there_small_and_say_where_they_come_from():
    assert {file.name for file in FOLDER.glob("*.safetensors")} == FILES
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if "__pycache__" not in file.parts) < 12e6
    for name in FILES:
        metadata = tensors_of(FOLDER / name)[1]
        assert metadata["license"] == "Apache-2.0"
        assert {"training_data", "held_out", "seed", "commit"} <= metadata.keys()


@pytest.mark.parametrize(("variant", "file"), [("standard", "ip-adapter_demo"), ("plus", "ip-adapter-plus_demo")])
def test_our_ordinary_reader_knows_what_the_adapters_are(variant, file):
    path = FOLDER / f"{file}.safetensors"
    weights, metadata = read_file(path)
    config = read_checkpoint(weights, path.name, metadata).config
    assert config.variant == variant and len(config.channels) == 16 and config.context_dim == 64
    assert config.key_numbers == tuple(range(1, 32, 2))


def test_comfyui_samples_by_the_noise_that_the_models_learned_from():
    """Else every step tells the UNet another noise than there is, and pictures are blotchy."""
    from pack.nodes.loading.demo_models import load_model

    noise = unet.Noise()
    found = load_model().model.model_sampling.sigmas
    torch.testing.assert_close(found, noise.noise / noise.signal, rtol=1e-4, atol=0)  # sums in 32 bits, and in 64
