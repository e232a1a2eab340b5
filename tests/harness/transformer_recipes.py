"""The graphs in workflows/ for Flux and SD3.5: those of `recipes`, with what these models need around the sampler."""

from typing import Any

from .recipes import base, loader, part, picture, two_regions

FLUX, SD35 = "flux1-dev-fp8.safetensors", "sd3.5_large_fp8_scaled.safetensors"
CLIP_L, SIGLIP = "clip-vit-large-patch14.safetensors", "sigclip_vision_patch14_384.safetensors"
XLABS_V2, INSTANTX_SD35 = "flux-ip-adapter-v2.safetensors", "instantx-sd3.5-large-ip-adapter.bin"
SAMPLERS: dict[str, dict[str, Any]] = {
    FLUX: {"steps": 25, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"},
    SD35: {"steps": 28, "cfg": 4.5, "sampler_name": "euler", "scheduler": "sgm_uniform"},
}


def moved(nodes: dict[str, Any], checkpoint: str, adapter: str, encoder: str) -> dict[str, Any]:
    """The same graph for another kind of model: its files, its latents, its sampler."""
    nodes["checkpoint"] = loader("CheckpointLoaderSimple", 0, 100, "ckpt_name", checkpoint)
    nodes["adapter"] = loader("IPAdapterModelLoader", 150, 60, "ipadapter_file", adapter)
    nodes["vision"] = loader("CLIPVisionLoader", 260, 60, "clip_name", encoder)
    nodes["latent"] |= {"type": "EmptySD3LatentImage", "widgets": {"width": 1024, "height": 1024}}
    nodes["sampler"]["widgets"] |= SAMPLERS[checkpoint]
    if checkpoint == FLUX:  # guidance is a number that the model reads; at a CFG of 1 no negative prompt acts
        x, _ = nodes["negative"]["at"]
        nodes["negative"] = part("ConditioningZeroOut", x, 190, {"conditioning": ["positive", 0]}, size=[330, 40])
        nodes["guidance"] = part(
            "FluxGuidance", x, 280, {"conditioning": ["positive", 0]}, widgets={"guidance": 3.5}, size=[330, 60]
        )
        nodes["sampler"]["links"]["positive"] = ["guidance", 0]
    return nodes


def reference(checkpoint: str, adapter: str, encoder: str, text: str, photo: str, weight: float) -> dict[str, Any]:
    links = {
        "model": ["checkpoint", 0], "ipadapter": ["adapter", 0], "image": ["reference", 0],
        "clip_vision": ["vision", 0],
    }  # fmt: skip
    nodes = moved(base("ip-adapter_sd15.safetensors", text, ("apply", 0), 770), checkpoint, adapter, encoder)
    nodes["reference"] = picture(0, 400, photo, "Reference")
    nodes["apply"] = part("IPAdapterAdvanced", 390, 0, links, widgets={"weight": weight}, size=[330, 330])
    return {"nodes": nodes}


def flux_regions() -> dict[str, Any]:
    nodes = moved(two_regions()["nodes"], FLUX, XLABS_V2, CLIP_L)
    nodes["latent"]["widgets"] = {"width": 1216, "height": 832}
    return {"nodes": nodes}


RECIPES: dict[str, dict[str, Any]] = {
    "flux_style_reference_and_text": reference(
        FLUX, XLABS_V2, CLIP_L, "a lighthouse on a cliff, waves, morning light", "coffee.png", 0.9
    ),
    "flux_two_regions_two_references": flux_regions(),
    "sd35_reference": reference(
        SD35, INSTANTX_SD35, SIGLIP, "a cat in a library, soft light, photograph", "chelsea.png", 0.6
    ),
}
