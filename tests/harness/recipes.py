"""The graphs in workflows/: which nodes, where, and how they are wired."""

from typing import Any

HUB = "https://huggingface.co"
MODELS = {
    "v1-5-pruned-emaonly-fp16.safetensors": (
        f"{HUB}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
        "checkpoints",
    ),
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors": (
        f"{HUB}/h94/IP-Adapter/resolve/main/models/image_encoder/model.safetensors",
        "clip_vision",
    ),
    **{
        name: (f"{HUB}/h94/IP-Adapter/resolve/main/models/{name}", "ipadapter")
        for name in (
            "ip-adapter_sd15.safetensors",
            "ip-adapter-plus_sd15.safetensors",
            "ip-adapter-plus-face_sd15.safetensors",
        )
    },
    "ip-adapter-faceid_sd15.bin": (
        f"{HUB}/h94/IP-Adapter-FaceID/resolve/main/ip-adapter-faceid_sd15.bin",
        "ipadapter",
    ),
    "open_clip_ViT-H-14_laion2b_s32b_b79k.safetensors": (
        f"{HUB}/laion/CLIP-ViT-H-14-laion2B-s32B-b79K/resolve/main/open_clip_model.safetensors",
        "open_clip",
    ),
    "open_clip_ViT-L-14_openai.safetensors": (
        f"{HUB}/timm/vit_large_patch14_clip_224.openai/resolve/main/open_clip_model.safetensors",
        "open_clip",
    ),
}
CHECKPOINT, ENCODER, *_ = MODELS
MODELS |= {  # of transformers
    "flux1-dev-fp8.safetensors": (f"{HUB}/Comfy-Org/flux1-dev/resolve/main/flux1-dev-fp8.safetensors", "checkpoints"),
    "sd3.5_large_fp8_scaled.safetensors": (
        f"{HUB}/Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/sd3.5_large_fp8_scaled.safetensors", "checkpoints",
    ),
    "clip-vit-large-patch14.safetensors": (
        f"{HUB}/openai/clip-vit-large-patch14/resolve/main/model.safetensors", "clip_vision",
    ),
    "sigclip_vision_patch14_384.safetensors": (
        f"{HUB}/Comfy-Org/sigclip_vision_384/resolve/main/sigclip_vision_patch14_384.safetensors", "clip_vision",
    ),
    "flux-ip-adapter-v2.safetensors": (
        f"{HUB}/XLabs-AI/flux-ip-adapter-v2/resolve/main/ip_adapter.safetensors", "ipadapter",
    ),
    "instantx-sd3.5-large-ip-adapter.bin": (
        f"{HUB}/InstantX/SD3.5-Large-IP-Adapter/resolve/main/ip-adapter.bin", "ipadapter",
    ),
}  # fmt: skip
NEGATIVE = "blurry, low quality, text, watermark"


def part(type: str, x: int, y: int, links: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": type, "at": [x, y], "links": links or {}, **more}


def loader(type: str, y: int, height: int, widget: str, name: str) -> dict[str, Any]:
    url, directory = MODELS[name]
    models = [{"name": name, "url": url, "directory": directory}]
    return part(type, 0, y, widgets={widget: name}, models=models, size=[330, height])


def base(adapter: str, text: str, model: tuple[str, int], right: int) -> dict[str, Any]:
    """What every graph has: the loaders on the left, and on the right the text, the sampler and the picture."""
    sampler = {
        "seed": 42,
        "control_after_generate": "fixed",
        "steps": 25,
        "cfg": 6.0,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
    }
    return {
        "checkpoint": loader("CheckpointLoaderSimple", 0, 100, "ckpt_name", CHECKPOINT),
        "adapter": loader("IPAdapterModelLoader", 150, 60, "ipadapter_file", adapter),
        "vision": loader("CLIPVisionLoader", 260, 60, "clip_name", ENCODER),
        "positive": part(
            "CLIPTextEncode", right, 0, {"clip": ["checkpoint", 1]}, widgets={"text": text}, size=[330, 130]
        ),
        "negative": part(
            "CLIPTextEncode", right, 190, {"clip": ["checkpoint", 1]}, widgets={"text": NEGATIVE}, size=[330, 130]
        ),
        "latent": part("EmptyLatentImage", right, 380, widgets={"width": 512, "height": 512}, size=[330, 106]),
        "sampler": part(
            "KSampler",
            right + 370,
            0,
            {
                "model": list(model), "positive": ["positive", 0], "negative": ["negative", 0],
                "latent_image": ["latent", 0],
            },
            widgets=sampler,
            size=[300, 262],
        ),
        "decode": part(
            "VAEDecode", right + 370, 320, {"samples": ["sampler", 0], "vae": ["checkpoint", 2]}, size=[300, 46]
        ),
        "save": part(
            "SaveImage", right + 370, 420, {"images": ["decode", 0]}, size=[300, 270],
            widgets={"filename_prefix": "atelier"},
        ),
    }  # fmt: skip


def picture(x: int, y: int, name: str, title: str) -> dict[str, Any]:
    return part("LoadImage", x, y, widgets={"image": name}, title=title, size=[330, 330])


def style_and_text() -> dict[str, Any]:
    links = {
        "ipadapter": ["adapter", 0], "clip_vision": ["vision", 0], "image": ["reference", 0],
        "model": ["checkpoint", 0],
    }  # fmt: skip
    widgets = {"weight": 1.0, "weight_type": "style transfer"}
    nodes = base("ip-adapter-plus_sd15.safetensors", "a lighthouse on a cliff, waves, morning light", ("apply", 0), 770)
    nodes["reference"] = picture(0, 400, "coffee.png", "Style reference")
    nodes["apply"] = part("IPAdapterApply", 390, 0, links, widgets=widgets, size=[330, 330])
    return {"nodes": nodes}


def left_person() -> dict[str, Any]:
    links = {
        "model": ["checkpoint", 0], "ipadapter": ["adapter", 0], "image": ["reference", 0],
        "attn_mask": ["mask", 0], "clip_vision": ["vision", 0],
    }  # fmt: skip
    nodes = base("ip-adapter-plus-face_sd15.safetensors", "two people in a garden, smiling, summer", ("apply", 0), 1120)
    nodes["reference"] = picture(0, 400, "astronaut.png", "The person on the left")
    black = {"value": 0.0, "width": 512, "height": 512}
    white = {"value": 1.0, "width": 256, "height": 512}
    nodes["black"] = part("SolidMask", 390, 400, widgets=black, title="Nowhere", size=[300, 106])
    nodes["white"] = part("SolidMask", 390, 570, widgets=white, title="Left half", size=[300, 106])
    composite = {"destination": ["black", 0], "source": ["white", 0]}
    nodes["mask"] = part("MaskComposite", 740, 400, composite, widgets={"x": 0, "y": 0, "operation": "add"})
    nodes["apply"] = part("IPAdapterAdvanced", 740, 0, links, widgets={"weight": 0.8}, size=[330, 330])
    return {"nodes": nodes}


def two_regions() -> dict[str, Any]:
    nodes = base("ip-adapter_sd15.safetensors", "a still life by a window, oil painting", ("right apply", 0), 1110)
    nodes["latent"] |= {"at": [0, 390], "widgets": {"width": 768, "height": 512}}
    nodes["left picture"] = picture(390, 400, "chelsea.png", "Left reference")
    nodes["right picture"] = picture(740, 400, "coffee.png", "Right reference")
    half = {"value": 1.0, "width_fraction": 0.5}
    canvas = {"canvas": ["latent", 0]}
    nodes["black"] = part(
        "IPAdapterSolidMask", 0, 560, canvas, widgets={"value": 0.0}, title="Nowhere", size=[330, 160]
    )
    nodes["half"] = part(
        "IPAdapterSolidMask", 0, 790, canvas, widgets=half, title="Half of the canvas", size=[330, 160]
    )
    for side, x, share in (("left", 390, 0.0), ("right", 740, 0.5)):
        composite = {"destination": ["black", 0], "source": ["half", 0]}
        nodes[f"{side} mask"] = part(
            "IPAdapterMaskComposite", x, 790, composite, size=[330, 200],
            widgets={"operation": "add", "x_fraction": share},
        )  # fmt: skip
        links = {
            "ipadapter": ["adapter", 0], "clip_vision": ["vision", 0], "image": [f"{side} picture", 0],
            "model": ["checkpoint", 0] if side == "left" else ["left apply", 0], "attn_mask": [f"{side} mask", 0],
        }  # fmt: skip
        nodes[f"{side} apply"] = part("IPAdapterApply", x, 0, links, size=[330, 330])
    return {"nodes": nodes}


RECIPES: dict[str, dict[str, Any]] = {
    "style_reference_and_text": style_and_text(),
    "left_person_only": left_person(),
    "two_regions_two_references": two_regions(),
}
