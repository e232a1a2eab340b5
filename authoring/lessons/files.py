"""The files that lessons name, and the address of each."""

from typing import NamedTuple

from ipadapter.catalog import BY_NAME, CATALOG

HUB = "https://huggingface.co"


PACKS = ("buffalo_l", "auraface", "antelopev2")  # folders of face models that the graphs name


class File(NamedTuple):
    url: str
    folder: str  # in models/


SPLIT = "resolve/main/split_files"  # where Comfy-Org's repositories have their files
CONTROLNETS = "comfyanonymous/ControlNet-v1-1_fp16_safetensors"
OTHERS = {
    "v1-5-pruned-emaonly-fp16.safetensors": (
        "Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors", "checkpoints"
    ),
    "sd_xl_base_1.0.safetensors": (
        "stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors", "checkpoints"
    ),
    "NoobAI-XL-v1.1.safetensors": ("Laxhar/noobai-XL-1.1/resolve/main/NoobAI-XL-v1.1.safetensors", "checkpoints"),
    "flux1-dev-fp8.safetensors": ("Comfy-Org/flux1-dev/resolve/main/flux1-dev-fp8.safetensors", "checkpoints"),
    "sd3.5_large_fp8_scaled.safetensors": (
        "Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/sd3.5_large_fp8_scaled.safetensors", "checkpoints"
    ),
    "flux1-dev-kontext_fp8_scaled.safetensors": (
        f"Comfy-Org/flux1-kontext-dev_ComfyUI/{SPLIT}/diffusion_models/flux1-dev-kontext_fp8_scaled.safetensors",
        "diffusion_models",
    ),
    "clip_l.safetensors": ("comfyanonymous/flux_text_encoders/resolve/main/clip_l.safetensors", "text_encoders"),
    "t5xxl_fp8_e4m3fn_scaled.safetensors": (
        "comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders"
    ),
    "ae.safetensors": (f"Comfy-Org/Lumina_Image_2.0_Repackaged/{SPLIT}/vae/ae.safetensors", "vae"),
    "qwen_image_edit_2509_fp8_e4m3fn.safetensors": (
        f"Comfy-Org/Qwen-Image-Edit_ComfyUI/{SPLIT}/diffusion_models/qwen_image_edit_2509_fp8_e4m3fn.safetensors",
        "diffusion_models",
    ),
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": (
        f"Comfy-Org/Qwen-Image_ComfyUI/{SPLIT}/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors", "text_encoders"
    ),
    "qwen_image_vae.safetensors": (f"Comfy-Org/Qwen-Image_ComfyUI/{SPLIT}/vae/qwen_image_vae.safetensors", "vae"),
    "sdxl_lightning_4step_lora.safetensors": (
        "ByteDance/SDXL-Lightning/resolve/main/sdxl_lightning_4step_lora.safetensors", "loras"
    ),
    "sdxl_vae.safetensors": ("stabilityai/sdxl-vae/resolve/main/sdxl_vae.safetensors", "vae"),
    **{
        name: (f"{CONTROLNETS}/resolve/main/{name}", "controlnet")
        for name in (
            "control_v11p_sd15_lineart_fp16.safetensors",
            "control_v11p_sd15_normalbae_fp16.safetensors",
            "control_v11p_sd15_openpose_fp16.safetensors",
        )
    },
}  # fmt: skip


def all_files() -> dict[str, File]:
    """Every file that a lesson may name."""
    published = (file.name for file in CATALOG if file.kind not in ("face pack", "face parser"))
    return {name: find_file(name) for name in (*OTHERS, *published)}


def find_file(name: str) -> File:
    """The address and folder of a file: of adapters, encoders and LoRAs those of the pack's catalog."""
    if name in BY_NAME:
        return File(BY_NAME[name].url, BY_NAME[name].folder)
    path, folder = OTHERS[name]
    return File(f"{HUB}/{path}", folder)


def named(name: str) -> list[dict[str, str]]:
    """The `properties.models` of a loader, from which ComfyUI offers to download missing files."""
    url, folder = find_file(name)
    known = BY_NAME.get(name)
    hashed = {"hash": known.sha256, "hash_type": "SHA256"} if known and known.sha256 else {}
    return [{"name": name, "url": url, "directory": folder} | hashed]
