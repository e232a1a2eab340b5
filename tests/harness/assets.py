"""Files for a test server: adapters that fit the stand-in models under published names, and real photos."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import synthetic
import synthetic_transformers
import tiny_transformers

CLIP = {"pooled": 32, "hidden": 64}  # the defaults of TestClipVision
SMALL = {"dim": 64, "heads": 1, "depth": 1}
SD15: dict[str, Any] = {"context": 768, "channels": synthetic.sd15_channels(32), **CLIP, **SMALL}
FACE: dict[str, Any] = {"face_hidden": 16, "rank": 4, "inner": 96}  # else up to 134 million numbers
SDXL: dict[str, Any] = {"context": 2048, "channels": synthetic.sdxl_channels(32), **CLIP, **SMALL}
SHALLOW: dict[str, Any] = SDXL | {"channels": synthetic.sdxl_channels(32, (1, 2))}
# File name, variant and sizes; the shallow one fits TestModel's family "sdxl shallow".
ADAPTERS = {
    "ip-adapter_sd15.safetensors": ("standard", SD15),
    "ip-adapter-plus_sd15.safetensors": ("plus", SD15),
    "ip-adapter-plus-face_sd15.safetensors": ("plus face", SD15),
    "ip-adapter-faceid_sd15.bin": ("FaceID", SD15 | FACE),
    "ip-adapter_sdxl_vit-h.safetensors": ("SDXL", SDXL),
    "ip-adapter_sdxl_shallow.safetensors": ("SDXL", SHALLOW),
}
TRANSFORMERS = {"tiny-flux.safetensors": "flux", "tiny-sd3.5.safetensors": "sd3.5"}
TRANSFORMER_ADAPTERS = {
    "flux-ip-adapter.safetensors": "XLabs Flux",
    "flux-ip-adapter-v2.safetensors": "XLabs Flux v2",
    "instantx-flux-ip-adapter.bin": "InstantX Flux",
    "instantx-sd3.5-large-ip-adapter.bin": "InstantX SD3.5",
}
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png")
SECOND_PERSON = "grace_hopper.jpg"  # out of matplotlib: a portrait by the US Navy, public domain


def write_adapters(folder: Path) -> None:
    for seed, (name, (variant, sizes)) in enumerate(ADAPTERS.items()):
        if not (folder / name).exists():
            synthetic.save(synthetic.adapter(variant, seed=seed, dtype=torch.float16, **sizes), folder / name)


def instantid() -> synthetic.Nested:
    """A small InstantID in float32, as published. One for all tests: a preset takes any that is in the folders."""
    return synthetic.adapter("InstantID", seed=3, **SHALLOW | FACE)


def write_transformers(models: Path) -> None:
    """Tiny Flux and SD3.5 models, and adapters for them under the names by which the catalog knows them."""
    folders = {name: models / name for name in ("diffusion_models", "ipadapter")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for name, family in TRANSFORMERS.items():
        save_file(tiny_transformers.STATES[family](), folders["diffusion_models"] / name)
    for seed, (name, kind) in enumerate(TRANSFORMER_ADAPTERS.items()):
        state = synthetic_transformers.adapter(kind, seed=seed, **tiny_transformers.ADAPTERS[kind])
        (save_file if name.endswith(".safetensors") else torch.save)(state, folders["ipadapter"] / name)


def photo(name: str) -> Path:
    """A photo out of the scikit-image package: astronaut (NASA, public domain), chelsea and coffee (CC0)."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise FileNotFoundError("The photos come from the package scikit-image: run python atelier.py test")
    return Path(package.origin).parent / "data" / name


def write_photos(folder: Path) -> None:
    for name in PHOTOS:
        shutil.copyfile(photo(name), folder / name)
    package = find_spec("matplotlib")  # of the tests, and not of a server that is set up to be tried
    if package is not None and package.origin is not None:
        hopper = Path(package.origin).parent / "mpl-data" / "sample_data" / SECOND_PERSON
        shutil.copyfile(hopper, folder / SECOND_PERSON)
