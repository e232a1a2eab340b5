"""The catalogue of published adapters, LoRAs, vision encoders and face packs.

It is used by loaders, messages, the doctor, downloads and the tables of docs/model_files.md. Names come from the model
cards and READMEs.
"""

from dataclasses import dataclass, replace

from . import origins as by
from .hashes import HASHES
from .published import NOOBAI_STYLE, Published, Source

VIT_H = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
VIT_G = "CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors"
VIT_L_336 = "clip-vit-large-patch14-336.bin"
VIT_L = "clip-vit-large-patch14.safetensors"
SIGLIP_384 = "sigclip_vision_patch14_384.safetensors"
EVA = "eva02_large_patch14_clip_336.safetensors"
IDENTITY_NET, FACE_PARSER = "instantid-controlnet.safetensors", "parsing_bisenet.pth"
ANY = r"\.(safetensors|bin)$"
OTHER_CLIPS = r"dfn\d?b|meta.?clip|datacomp|clipa\b"  # of Apple, Meta and others, in the sizes of OpenAI's and LAION's
ANIME_LOOK = "the general look, on Illustrious and NoobAI models"
LOOK, CLOSER, FACE, LAYOUT = "the general look", "closer to the reference", "faces, from a crop", "layout without style"
WHO_ONLY = "who it is, with the rest of the picture changed little"
WHO, WHO_AND_LOOKS, PORTRAIT = "who it is", "who it is and what they look like", "who it is, from several pictures"


def _adapter(
    name: str, source: Source, path: str, family: str, variant: str, preset: str, patterns: str, encoder: str = VIT_H,
    face_pack: str = "", good_at: str = "", embed_dim: int | None = None, only_by_name: bool = False,
) -> Published:  # fmt: skip
    """`path` is a folder in the repository, or the complete path if the file has another name there."""
    whole = path if path.endswith((".bin", ".safetensors")) else path + name
    found = tuple(pattern + ANY for pattern in patterns.split())
    return Published(
        name, "adapter", source, whole, family, variant, embed_dim, preset, encoder, face_pack, found, good_at=good_at,
        only_by_name=only_by_name,
    )  # fmt: skip


def _general(name: str, family: str, variant: str, preset: str, patterns: str, good_at: str, **more) -> Published:
    folder = {"sd15": "models/", "sdxl": "sdxl_models/"}[family]
    return _adapter(name, by.H94, folder, family, variant, preset, patterns, good_at=good_at, **more)


def _face(name: str, family: str, variant: str, preset: str, patterns: str, encoder: str, good_at: str) -> Published:
    return _adapter(name, by.FACE_ID, "", family, variant, preset, patterns, encoder, "buffalo_l", good_at)


def _pulid(
    name: str, source: Source, family: str, variant: str, patterns: str, only_by_name: bool = False
) -> Published:
    """A PuLID file; its folder is that of earlier PuLID packs."""
    preset = PULID_FLUX_PRESET if family == "flux" else PULID_PRESET
    file = _adapter(
        name, source, "", family, variant, preset, patterns, EVA, "antelopev2", WHO_ONLY, only_by_name=only_by_name
    )
    return replace(file, where="pulid", beside=(FACE_PARSER,))


def _lora(name: str, family: str, preset: str, pattern: str) -> Published:
    return Published(
        name, "lora", by.FACE_ID, name, family, preset=preset, patterns=(pattern + r"\.safetensors$",)
    )  # fmt: skip


LIGHT, STANDARD, VIT_G_PRESET = (
    "LIGHT - SD1.5 only (low strength)", "STANDARD (medium strength)", "VIT-G (medium strength)"
)  # fmt: skip
PLUS, PLUS_FACE, FULL_FACE = (
    "PLUS (high strength)", "PLUS FACE (portraits)", "FULL FACE - SD1.5 only (portraits stronger)"
)  # fmt: skip
FACEID, FACEID_PLUS, FACEID_PLUS_V2 = "FACEID", "FACEID PLUS - SD1.5 only", "FACEID PLUS V2"
FACEID_PORTRAIT, FACEID_UNNORM, FACEID_KOLORS = (
    "FACEID PORTRAIT (style transfer)", "FACEID PORTRAIT UNNORM - SDXL only (strong)", "FACEID KOLORS"
)  # fmt: skip

ANIME = "ANIME (Illustrious, NoobAI)"
INSTANTID_PRESET, PULID_PRESET, PULID_FLUX_PRESET = IDENTITY_PRESETS = "INSTANTID", "PULID", "PULID FLUX"
XLABS_PRESET, XLABS_V2_PRESET, INSTANTX_PRESET, SD35_PRESET = TRANSFORMER_PRESETS = (
    "FLUX - XLabs", "FLUX - XLabs v2", "FLUX - InstantX", "SD3.5 LARGE - InstantX"
)  # fmt: skip


def _with_hashes(*files: Published) -> tuple[Published, ...]:
    """The files with their SHA-256 and size in bytes from hashes.py, if listed there."""
    unknown = (None, None)
    known = ((file, HASHES.get(f"{file.source.repository}/{file.path}", unknown)) for file in files)
    return tuple(replace(file, sha256=sha256, size=size) for file, (sha256, size) in known)


ADAPTERS = _with_hashes(
    _general("ip-adapter_sd15_light_v11.bin", "sd15", "light", LIGHT, "sd15.light.v11 sd15.light",
             LOOK + ", following the text more"),
    _general("ip-adapter_sd15.safetensors", "sd15", "standard", STANDARD, "ip.adapter.sd15", LOOK),
    _general("ip-adapter_sdxl_vit-h.safetensors", "sdxl", "SDXL", STANDARD, "ip.adapter.sdxl.vit.h", LOOK,
             embed_dim=1024),
    _general("ip-adapter_sd15_vit-G.safetensors", "sd15", "ViT-G", VIT_G_PRESET, "sd15.vit.g", LOOK, encoder=VIT_G),
    _general("ip-adapter_sdxl.safetensors", "sdxl", "SDXL", VIT_G_PRESET, "ip.adapter.sdxl", LOOK, embed_dim=1280,
             encoder=VIT_G),
    _general("ip-adapter-plus_sd15.safetensors", "sd15", "plus", PLUS, "ip.adapter.plus.sd15", CLOSER),
    _general("ip-adapter-plus_sdxl_vit-h.safetensors", "sdxl", "SDXL plus", PLUS, "plus.sdxl.vit.h", CLOSER),
    _general("ip-adapter-plus-face_sd15.safetensors", "sd15", "plus face", PLUS_FACE, "plus.face.sd15", FACE),
    _general("ip-adapter-plus-face_sdxl_vit-h.safetensors", "sdxl", "plus face", PLUS_FACE, "plus.face.sdxl.vit.h",
             FACE),
    _general("ip-adapter-full-face_sd15.safetensors", "sd15", "full face", FULL_FACE, "full.face.sd15", FACE),
    _face("ip-adapter-faceid_sd15.bin", "sd15", "FaceID", FACEID, "faceid.sd15", "", WHO),
    _face("ip-adapter-faceid_sdxl.bin", "sdxl", "FaceID", FACEID, "faceid.sdxl", "", WHO),
    _face("ip-adapter-faceid-plus_sd15.bin", "sd15", "FaceID Plus", FACEID_PLUS, "faceid.plus.sd15", VIT_H,
          WHO_AND_LOOKS),
    _face("ip-adapter-faceid-plusv2_sd15.bin", "sd15", "FaceID Plus V2", FACEID_PLUS_V2, "faceid.plusv2.sd15", VIT_H,
          WHO_AND_LOOKS),
    _face("ip-adapter-faceid-plusv2_sdxl.bin", "sdxl", "FaceID Plus V2", FACEID_PLUS_V2, "faceid.plusv2.sdxl", VIT_H,
          WHO_AND_LOOKS),
    _face("ip-adapter-faceid-portrait-v11_sd15.bin", "sd15", "FaceID portrait", FACEID_PORTRAIT,
          "portrait.v11.sd15 portrait.sd15", "", PORTRAIT),
    _face("ip-adapter-faceid-portrait_sdxl.bin", "sdxl", "FaceID portrait", FACEID_PORTRAIT, "portrait.sdxl", "",
          PORTRAIT),
    _face("ip-adapter-faceid-portrait_sdxl_unnorm.bin", "sdxl", "FaceID portrait unnorm", FACEID_UNNORM,
          "portrait.sdxl.unnorm", "", PORTRAIT),
    _adapter("ip_plus_composition_sd15.safetensors", by.COMPOSITION, "", "sd15", "composition", "Composition",
             "plus.composition.sd15", good_at=LAYOUT),
    _adapter("ip_plus_composition_sdxl.safetensors", by.COMPOSITION, "", "sdxl", "composition", "Composition",
             "plus.composition.sdxl", good_at=LAYOUT),
    _adapter("Kolors-IP-Adapter-Plus.bin", by.KOLORS, "ip_adapter_plus_general.bin", "kolors", "Kolors plus", "Kolors",
             "(ip_adapter_plus_general|kolors.ip.adapter.plus)", VIT_L_336, good_at=CLOSER),
    _adapter("Kolors-IP-Adapter-FaceID-Plus.bin", by.KOLORS_FACE, "ipa-faceid-plus.bin", "kolors", "Kolors FaceID Plus",
             FACEID_KOLORS, "kolors.ip.adapter.faceid.plus ipa.faceid.plus", VIT_L_336, "antelopev2", WHO_AND_LOOKS),
    replace(
        _adapter("instantid-ip-adapter.bin", by.INSTANT_ID, "ip-adapter.bin", "sdxl", "InstantID", INSTANTID_PRESET,
                 "instant.?id.*", "", "antelopev2", WHO),
        beside=(IDENTITY_NET,),
    ),
    _adapter("flux-ip-adapter.safetensors", by.XLABS, "ip_adapter.safetensors", "flux", "XLabs Flux", XLABS_PRESET,
             "flux.ip.adapter(?!.v2) xlabs.*ip.adapter", VIT_L, good_at=LOOK),
    _adapter("flux-ip-adapter-v2.safetensors", by.XLABS_V2, "ip_adapter.safetensors", "flux", "XLabs Flux v2",
             XLABS_V2_PRESET, "flux.ip.adapter.v2", VIT_L, good_at=LOOK),
    _adapter("instantx-flux-ip-adapter.bin", by.INSTANTX_FLUX, "ip-adapter.bin", "flux", "InstantX Flux",
             INSTANTX_PRESET, "instantx.flux.ip.adapter ipadapter.flux.*ip.adapter", SIGLIP_384, good_at=LOOK),
    _adapter("instantx-sd3.5-large-ip-adapter.bin", by.INSTANTX_SD35, "ip-adapter.bin", "sd3.5", "InstantX SD3.5",
             SD35_PRESET, "sd3.?5.*ip.adapter", SIGLIP_384, good_at=LOOK),
    _adapter("noobIPAMARK1_mark1.safetensors", by.NOOB, "", "sdxl", "SDXL", ANIME,
             "noob.?ipa.?mark.?1(.mark.?1)? (noob|illustrious).*ip.?a(dapter)?.* ip.?a(dapter)?.*(noob|illustrious).*",
             VIT_G, good_at=ANIME_LOOK, embed_dim=1280, only_by_name=True),
    _adapter("ip_adapter_Noobtest_800000.bin", by.KATARAGI, "", "sdxl", "SDXL", "", "noob.?test.*",
             good_at=ANIME_LOOK + "; its author calls it undertrained", embed_dim=1024, only_by_name=True),
    _pulid("pulid_v1.1.safetensors", by.PULID, "sdxl", "PuLID v1.1", r"pulid.?v?1\.1"),
    _pulid("pulid_v1.bin", by.PULID, "sdxl", "PuLID", "pulid.v1"),
    _pulid("ip-adapter_pulid_sdxl_fp16.safetensors", by.PULID_COPY, "sdxl", "PuLID", "pulid.sdxl.fp16",
           only_by_name=True),
    _pulid("pulid_flux_v0.9.1.safetensors", by.PULID_FLUX, "flux", "PuLID Flux", r"pulid.flux.v0\.9\.1 pulid.flux.*"),
    _pulid("pulid_flux_v0.9.0.safetensors", by.PULID_FLUX, "flux", "PuLID Flux", r"pulid.flux.v0\.9\.0",
           only_by_name=True),
    replace(
        _adapter("styleIpadapterFor_v10.safetensors", by.CIVITAI_STYLE, "", "sdxl", NOOBAI_STYLE, "",
                 "style.?ip.?adapter.?for.*", VIT_G, good_at="the style, on NoobAI models; pictures of 448 pixels",
                 embed_dim=1280),
        path="",  # civitai asks for a login
    ),
    _adapter("ipAdapterPlusAnime_v10.safetensors", by.R3GM, "", "sd15", "plus", "", "ip.?adapter.?plus.?anime.*",
             good_at="closer to the reference, on anime models", only_by_name=True),
)  # fmt: skip

LORAS = _with_hashes(
    _lora("ip-adapter-faceid_sd15_lora.safetensors", "sd15", FACEID, "faceid.sd15.lora"),
    _lora("ip-adapter-faceid_sdxl_lora.safetensors", "sdxl", FACEID, "faceid.sdxl.lora"),
    _lora("ip-adapter-faceid-plus_sd15_lora.safetensors", "sd15", FACEID_PLUS, "faceid.plus.sd15.lora"),
    _lora("ip-adapter-faceid-plusv2_sd15_lora.safetensors", "sd15", FACEID_PLUS_V2, "faceid.plusv2.sd15.lora"),
    _lora("ip-adapter-faceid-plusv2_sdxl_lora.safetensors", "sdxl", FACEID_PLUS_V2, "faceid.plusv2.sdxl.lora"),
)

ENCODERS = _with_hashes(
    Published(
        VIT_H, "encoder", by.H94, "models/image_encoder/model.safetensors", title="CLIP ViT-H/14 (laion2B s32B b79K)",
        patterns=(r"(ViT.H.14.*s32B.b79K|ipadapter.*sd15|sd1.?5.*model)" + ANY, r"clip.?vision.?(vit.)?h" + ANY),
        sizes=(1024, 1280, 257), gives=("pooled", "hidden"), others=OTHER_CLIPS,
    ),
    Published(
        VIT_G, "encoder", by.H94, "sdxl_models/image_encoder/model.safetensors",
        title="CLIP ViT-bigG/14 (laion2B 39B b160k)",
        patterns=(
            r"(ViT.bigG.14.*39B.b160k|ipadapter.*sdxl|sdxl.*model)" + ANY, r"clip.?vision.?(vit.)?(big)?g" + ANY,
        ),
        sizes=(1280, 1664, 257), gives=("pooled", "hidden"), others=OTHER_CLIPS,
    ),
    Published(
        VIT_L_336, "encoder", by.KOLORS, "image_encoder/pytorch_model.bin", title="CLIP ViT-L/14 at 336 pixels",
        patterns=(r"clip.vit.large.patch14.336" + ANY, r"vit.?l.*336" + ANY),
        sizes=(768, 1024, 577), gives=("hidden",), others=OTHER_CLIPS,
    ),
    Published(
        VIT_L, "encoder", by.OPENAI, "model.safetensors", title="CLIP ViT-L/14",
        patterns=(r"clip.vit.large.patch14" + ANY, r"clip.?vision.?(vit.)?l" + ANY),
        sizes=(768, 1024, 257), gives=("pooled",), others=OTHER_CLIPS + "|laion",
    ),
    Published(
        SIGLIP_384, "encoder", by.SIGLIP, SIGLIP_384,
        title="SigLIP so400m patch14 384 with its pooling head (sigclip_vision_patch14_384)",
        patterns=(r"sig(c)?lip.*384" + ANY,), sizes=(1152, 1152, 729), gives=("pooled", "hidden"), others="siglip.?2",
    ),
    Published(
        EVA, "encoder", by.EVA_CLIP, "open_clip_model.safetensors", title="EVA02-CLIP L/14 at 336 pixels",
        patterns=(r"eva.?02.*l.*336.*\.(safetensors|bin|pt)$",),
    ),
)  # fmt: skip

TOWERS = (  # encoders with their text towers, for IPAdapter OpenCLIP Loader
    Published(
        "open_clip_ViT-H-14_laion2b_s32b_b79k.safetensors", "both towers", by.LAION_H, "open_clip_model.safetensors",
        title="OpenCLIP ViT-H/14 with its text tower",
    ),
    Published(
        "open_clip_ViT-L-14_openai.safetensors", "both towers", by.TIMM_L, "open_clip_model.safetensors",
        title="OpenAI's ViT-L/14 with its text tower",
    ),
)  # fmt: skip

FACE_PACKS = (
    Published("buffalo_l", "face pack", by.INSIGHTFACE, "buffalo_l.zip"),
    Published("antelopev2", "face pack", by.INSIGHTFACE, "antelopev2.zip"),
    Published("auraface", "face pack", by.AURAFACE),
)

BESIDE = (  # files that nodes of identity use beside an adapter; no public list gives their SHA-256
    Published(IDENTITY_NET, "controlnet", by.INSTANT_ID, "ControlNetModel/diffusion_pytorch_model.safetensors",
              patterns=("instant.?id",), title="InstantID's ControlNet"),
    Published(FACE_PARSER, "face parser", by.FACEXLIB, FACE_PARSER, patterns=(r"parsing_bisenet\.pth$",),
              title="facexlib's face parser", size=53_289_463),
)  # fmt: skip

CATALOG: tuple[Published, ...] = (*ADAPTERS, *LORAS, *ENCODERS, *TOWERS, *FACE_PACKS, *BESIDE)
BY_NAME: dict[str, Published] = {file.name: file for file in CATALOG}


@dataclass(frozen=True)
class Recognised:
    """A published file that the pack recognises but does not support, or not fully."""

    name: str
    source: Source
    title: str
    why: str  # why it is not supported, or the node that loads it


RECOGNISED = (
    Recognised("flux1-redux-dev.safetensors", Source("black-forest-labs/FLUX.1-Redux-dev", by.FLUX_DEV), "Flux Redux",
               "a style model: ComfyUI's Load Style Model and Apply Style Model"),
    Recognised("ip_adapter_art_sdxl_512.pth", Source("AisingioroHao0/IP-Adapter-Art", by.APACHE), "IP-Adapter-Art",
               "it loads, and IPAdapter Embeds applies ready embeds with it; pictures are refused, because the layout "
               "of its encoder (csd_clip.pth: CSD, a ViT-L) is not known here"),
    Recognised("ipAdapterAnimeFine_v10.safetensors", by.R3GM, "an adapter for anime models of SD1.5",
               "it loads with IPAdapter Model Loader; which projection it has, its tensors say"),
)  # fmt: skip


def encoder_title(takes: str, width: int) -> str | None:
    """The title of the published vision encoder whose pooled or hidden (`takes`) embeds have this width, or None."""
    fits = (e for e in ENCODERS if takes in e.gives and e.sizes and width == e.sizes[takes == "hidden"])
    return next((file.title for file in fits), None)


def needs(file: Published) -> list[Published]:
    """An adapter and the files that it works with: its encoder, its face pack, its LoRA and those beside it."""
    loras = [lora for lora in LORAS if file.preset and (lora.preset, lora.family) == (file.preset, file.family)]
    others = [BY_NAME[name] for name in (file.encoder, file.face_pack) if name]
    return [file, *others, *loras, *(BY_NAME[name] for name in file.beside)]


def at(repository: str, path: str) -> Published | None:
    """The catalogue's entry for a path in a repository, or None."""
    return next((file for file in CATALOG if (file.source.repository, file.path) == (repository, path)), None)
