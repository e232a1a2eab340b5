"""What the unified loaders' presets stand for: file names per model family, and what belongs to them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .peek import EncoderSizes

ANY = r"\.(safetensors|bin)$"
IP_ADAPTER = "huggingface.co/h94/IP-Adapter (Apache-2.0)"
FACE_ID = "huggingface.co/h94/IP-Adapter-FaceID (non-commercial research only)"
COMPOSITION = "huggingface.co/ostris/ip-composition-adapter (Apache-2.0)"
KOLORS = "huggingface.co/Kwai-Kolors (see the licence there)"


@dataclass(frozen=True)
class ModelFile:
    """A published file: its name, patterns that find its usual renamings, and what its tensors show."""

    name: str
    patterns: tuple[str, ...]
    variant: str = ""  # one of ipadapter.config.VARIANTS
    embed_dim: int | None = None  # where two files of a family are of one variant

    def matches(self, files: list[str]) -> list[str]:
        """The files that are it by their names, best first: the first pattern with a match counts."""
        for pattern in self.patterns:
            if found := [file for file in files if re.search(pattern, file, re.IGNORECASE)]:
                return found
        return []


@dataclass(frozen=True)
class Preset:
    """An adapter for each model family that has one, the LoRA and the face pack that belong to it."""

    adapters: Mapping[str, ModelFile]
    source: str = IP_ADAPTER
    loras: Mapping[str, ModelFile] = field(default_factory=dict)
    face_pack: str | None = None


def adapter(name: str, variant: str, *patterns: str, embed_dim: int | None = None) -> ModelFile:
    return ModelFile(name, tuple(pattern + ANY for pattern in patterns), variant, embed_dim)


def lora(name: str, pattern: str) -> ModelFile:
    return ModelFile(name, (pattern + r"\.safetensors$",))


GENERAL = {
    "LIGHT - SD1.5 only (low strength)": Preset(
        {"sd15": adapter("ip-adapter_sd15_light_v11.bin", "light", "sd15.light.v11", "sd15.light")}
    ),
    "STANDARD (medium strength)": Preset({
        "sd15": adapter("ip-adapter_sd15.safetensors", "standard", "ip.adapter.sd15"),
        "sdxl": adapter("ip-adapter_sdxl_vit-h.safetensors", "SDXL", "ip.adapter.sdxl.vit.h", embed_dim=1024),
    }),
    "VIT-G (medium strength)": Preset({
        "sd15": adapter("ip-adapter_sd15_vit-G.safetensors", "ViT-G", "sd15.vit.g"),
        "sdxl": adapter("ip-adapter_sdxl.safetensors", "SDXL", "ip.adapter.sdxl", embed_dim=1280),
    }),
    "PLUS (high strength)": Preset({
        "sd15": adapter("ip-adapter-plus_sd15.safetensors", "plus", "ip.adapter.plus.sd15"),
        "sdxl": adapter("ip-adapter-plus_sdxl_vit-h.safetensors", "SDXL plus", "plus.sdxl.vit.h"),
    }),
    "PLUS FACE (portraits)": Preset({
        "sd15": adapter("ip-adapter-plus-face_sd15.safetensors", "plus face", "plus.face.sd15"),
        "sdxl": adapter("ip-adapter-plus-face_sdxl_vit-h.safetensors", "plus face", "plus.face.sdxl.vit.h"),
    }),
    "FULL FACE - SD1.5 only (portraits stronger)": Preset(
        {"sd15": adapter("ip-adapter-full-face_sd15.safetensors", "full face", "full.face.sd15")}
    ),
}  # fmt: skip

FACES = {
    "FACEID": Preset(
        {
            "sd15": adapter("ip-adapter-faceid_sd15.bin", "FaceID", "faceid.sd15"),
            "sdxl": adapter("ip-adapter-faceid_sdxl.bin", "FaceID", "faceid.sdxl"),
        },
        FACE_ID,
        {
            "sd15": lora("ip-adapter-faceid_sd15_lora.safetensors", "faceid.sd15.lora"),
            "sdxl": lora("ip-adapter-faceid_sdxl_lora.safetensors", "faceid.sdxl.lora"),
        },
        "buffalo_l",
    ),
    "FACEID PLUS - SD1.5 only": Preset(
        {"sd15": adapter("ip-adapter-faceid-plus_sd15.bin", "FaceID Plus", "faceid.plus.sd15")},
        FACE_ID,
        {"sd15": lora("ip-adapter-faceid-plus_sd15_lora.safetensors", "faceid.plus.sd15.lora")},
        "buffalo_l",
    ),
    "FACEID PLUS V2": Preset(
        {
            "sd15": adapter("ip-adapter-faceid-plusv2_sd15.bin", "FaceID Plus V2", "faceid.plusv2.sd15"),
            "sdxl": adapter("ip-adapter-faceid-plusv2_sdxl.bin", "FaceID Plus V2", "faceid.plusv2.sdxl"),
        },
        FACE_ID,
        {
            "sd15": lora("ip-adapter-faceid-plusv2_sd15_lora.safetensors", "faceid.plusv2.sd15.lora"),
            "sdxl": lora("ip-adapter-faceid-plusv2_sdxl_lora.safetensors", "faceid.plusv2.sdxl.lora"),
        },
        "buffalo_l",
    ),
    "FACEID PORTRAIT (style transfer)": Preset(
        {
            "sd15": adapter(
                "ip-adapter-faceid-portrait-v11_sd15.bin", "FaceID portrait", "portrait.v11.sd15", "portrait.sd15"
            ),
            "sdxl": adapter("ip-adapter-faceid-portrait_sdxl.bin", "FaceID portrait", "portrait.sdxl"),
        },
        FACE_ID,
        face_pack="buffalo_l",
    ),
    "FACEID PORTRAIT UNNORM - SDXL only (strong)": Preset(
        {
            "sdxl": adapter(
                "ip-adapter-faceid-portrait_sdxl_unnorm.bin", "FaceID portrait unnorm", "portrait.sdxl.unnorm"
            )
        },
        FACE_ID,
        face_pack="buffalo_l",
    ),
    "FACEID KOLORS": Preset(
        {
            "kolors": adapter(
                "Kolors-IP-Adapter-FaceID-Plus.bin",
                "Kolors FaceID Plus",
                "kolors.ip.adapter.faceid.plus",
                "ipa.faceid.plus",
            )
        },
        KOLORS,
        face_pack="antelopev2",
    ),
}

COMMUNITY = {
    "Composition": Preset(
        {
            "sd15": adapter("ip_plus_composition_sd15.safetensors", "composition", "plus.composition.sd15"),
            "sdxl": adapter("ip_plus_composition_sdxl.safetensors", "composition", "plus.composition.sdxl"),
        },
        COMPOSITION,
    ),
    "Kolors": Preset(
        {
            "kolors": adapter(
                "Kolors-IP-Adapter-Plus.bin", "Kolors plus", "(ip_adapter_plus_general|kolors.ip.adapter.plus)"
            )
        },
        KOLORS,
    ),
}

# Published encoders: the file name and its usual renamings.
ENCODERS = {
    EncoderSizes(1024, 1280, 257): ModelFile(
        "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
        (r"(ViT.H.14.*s32B.b79K|ipadapter.*sd15|sd1.?5.*model)" + ANY, r"clip.?vision.?(vit.)?h" + ANY),
    ),
    EncoderSizes(1280, 1664, 257): ModelFile(
        "CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors",
        (r"(ViT.bigG.14.*39B.b160k|ipadapter.*sdxl|sdxl.*model)" + ANY, r"clip.?vision.?(vit.)?(big)?g" + ANY),
    ),
    EncoderSizes(768, 1024, 577): ModelFile(
        "clip-vit-large-patch14-336.bin", (r"clip.vit.large.patch14.336" + ANY, r"vit.?l.*336" + ANY)
    ),
}
