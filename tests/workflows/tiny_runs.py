"""Run a user's graph with tiny stand-ins where it loads models that nobody has on a test machine."""

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import synthetic
from authoring.lessons.identity import INSTANTID, PLUS_FACE, PLUS_V2, PULID
from authoring.lessons.passes import LIGHTNING
from authoring.lessons.people import LORA
from harness.assets import FACE, SD15, SHALLOW, instantid
from harness.graph import Graph
from harness.sampling import TOKENS
from identity.pulid_files import pulid

Prompt = dict[str, Any]

TINY_RUN: dict[str, dict[str, Any]] = {
    "KSampler": {"steps": 2},
    "IPAdapterLayerSweep": {"steps": 1, "layers": "4", "factors": "1"},
    "IPAdapterStudy": {"steps": 1, "weight_types": "linear", "weights": "0, 0.5, 1"},
    "EmptySD3LatentImage": {"width": 128, "height": 64},
    "EmptyLatentImage": {"width": 128, "height": 64, "batch_size": 1},
    "IPAdapterWeights": {"frames": 3},
}
SMALL = {"upscale_method": "area", "width": 128, "height": 64, "crop": "disabled"}  # what is scaled to that
# Loader, and what takes its place; None keeps the inputs that the loader had.
STAND_INS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "CheckpointLoaderSimple": ("TestCheckpoint", None),
    "CLIPVisionLoader": ("TestClipVision", {"seed": 3}),
    "IPAdapterOpenCLIPLoader": ("TestClipVision", {"seed": 4, "text": True}),
    "ControlNetLoader": ("TestControlNet", None),
    "VAELoader": ("TestVaeLoader", None),
    "UNETLoader": ("TestEditLoader", None),  # only lessons on edit models have one
    "CLIPLoader": ("TestEditText", {}),
    "DualCLIPLoader": ("TestEditText", {}),
    "PulidEvaClipLoader": ("TestEvaClip", {"seed": 5}),
}
# What a graph leaves open for another pack's loaders: input, stand-in, its inputs.
OPEN_ENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "model": ("TestModel", {"family": "kolors", "seed": 1}),
    "positive": ("TestConditioning", {"family": "sdxl", "seed": 10, "tokens": TOKENS}),
    "negative": ("TestConditioning", {"family": "sdxl", "seed": 20, "tokens": TOKENS}),
}
NEEDS = {"IPAdapterAdvanced": ("model",), "KSampler": ("model", "positive", "negative")}
# Adapters under published names that only lessons ask for; tests/harness/assets.py has the others.
LESSON_ADAPTERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ip-adapter_sd15_light_v11.bin": ("light", SD15),
    "ip-adapter-full-face_sd15.safetensors": ("full face", SD15),
    "ip-adapter-faceid-plusv2_sd15.bin": ("FaceID Plus V2", SD15 | FACE),
    "ip-adapter-plus_sdxl_vit-h.safetensors": ("SDXL plus", SHALLOW),
    "noobIPAMARK1_mark1.safetensors": ("SDXL", SHALLOW),
    PLUS_FACE: ("plus face", SHALLOW),
    PLUS_V2: ("FaceID Plus V2", SHALLOW | FACE),
    "Kolors-IP-Adapter-Plus.bin": ("Kolors plus", SHALLOW | {"dim": 2048, "inner": 96}),
}


def write_lesson_models(models: Path) -> None:
    """Small files that fit the stand-ins, in a server's folder of models."""
    for seed, (name, (variant, sizes)) in enumerate(LESSON_ADAPTERS.items()):
        made = synthetic.adapter(variant, seed=seed, dtype=torch.float16, **sizes)
        synthetic.save(made, models / "ipadapter" / name)
    synthetic.save(instantid(), models / "ipadapter" / INSTANTID)
    (models / "pulid").mkdir(exist_ok=True)
    save_file(pulid(PULID, seed=7, channels=SHALLOW["channels"]), models / "pulid" / PULID)
    layer = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_q"
    halves = {f"{layer}.lora_down.weight": torch.ones(4, 32), f"{layer}.lora_up.weight": torch.ones(32, 4) / 4}
    for name in (LORA, LIGHTNING):  # as SDXL has no such layer, the second leaves it as it is
        save_file(halves, models / "loras" / name)


def with_stand_ins(prompt: Prompt) -> Prompt:
    """The same API prompt with loaders of large models replaced, few steps and a small canvas."""
    prompt = copy.deepcopy(prompt)
    demo = any(node["class_type"] == "IPAdapterDemoLoader" for node in prompt.values())
    for node in prompt.values():
        kind, inputs = STAND_INS.get(node["class_type"], (node["class_type"], None))
        node["class_type"] = kind
        node["inputs"] = node["inputs"] if inputs is None else dict(inputs)
        tiny = {} if demo and kind == "EmptyLatentImage" else TINY_RUN.get(kind, {})  # the demo's is tiny already
        node["inputs"] |= {name: value for name, value in tiny.items() if name in node["inputs"]}
        if kind == "TestCheckpoint" and "xl" in node["inputs"]["ckpt_name"].lower():
            node["inputs"]["ckpt_name"] += " shallow"  # eleven transformers of one or two layers in place of 70 layers
    return with_open_ends(prompt if demo else with_small_pictures(prompt))


def with_small_pictures(prompt: Prompt) -> Prompt:
    """Pictures are made as small as an empty canvas is before they are encoded and painted over."""
    for id, node in list(prompt.items()):
        if node["class_type"] == "VAEEncode":
            inputs = {"image": node["inputs"]["pixels"], **SMALL}
            prompt[f"small {id}"] = {"class_type": "ImageScale", "inputs": inputs, "_meta": {"title": "ImageScale"}}
            node["inputs"]["pixels"] = [f"small {id}", 0]
    return prompt


def with_open_ends(prompt: Prompt) -> Prompt:
    """Stand-ins where a graph waits for another pack's models and texts."""
    for node in list(prompt.values()):
        for name in NEEDS.get(node["class_type"], ()):
            if name not in node["inputs"]:
                kind, inputs = OPEN_ENDS[name]
                prompt[f"open {name}"] = {"class_type": kind, "inputs": dict(inputs), "_meta": {"title": kind}}
                node["inputs"][name] = [f"open {name}", 0]
    return prompt


def with_latents_saved(prompt: Prompt, name: str = "latent") -> Graph:
    """The prompt as a Graph that also keeps what its first sampler made, or the pictures of one that has none."""
    graph = Graph()
    graph.prompt = copy.deepcopy(prompt)
    kinds = {id: node["class_type"] for id, node in prompt.items()}
    last = next((id for id, kind in kinds.items() if kind == "KSampler"), None)
    last = last or next(id for id, kind in kinds.items() if kind in ("IPAdapterStudy", "IPAdapterLayerSweep"))
    graph.prompt["saved"] = {
        "class_type": "TestSaveTensor",
        "inputs": {"value": [last, 0], "name": name},
        "_meta": {"title": "TestSaveTensor"},
    }
    return graph
