"""Where published files come from, with their licences, by their model cards and READMEs."""

from .published import Source

APACHE, RESEARCH, FLUX_DEV = "Apache-2.0", "non-commercial research only", "FLUX.1-dev non-commercial"
H94 = Source("h94/IP-Adapter", APACHE)
FACE_ID = Source("h94/IP-Adapter-FaceID", RESEARCH)
COMPOSITION = Source("ostris/ip-composition-adapter", APACHE)
KOLORS = Source("Kwai-Kolors/Kolors-IP-Adapter-Plus", "see its card")
KOLORS_FACE = Source("Kwai-Kolors/Kolors-IP-Adapter-FaceID-Plus", RESEARCH)
INSTANT_ID = Source("InstantX/InstantID", "Apache-2.0 by its card; its authors' README: for research purposes only")
NOOB = Source("subby2006/noob-ipa", "fair-ai-public-license-1.0-sd")
KATARAGI = Source("kataragi/Noob_ipadapter", "openrail-m")
R3GM = Source("r3gm/ip-adapter-anime", "not stated: see its card")
PULID = Source("guozinan/PuLID", APACHE + ", with antelopev2 for non-commercial research only")
PULID_FLUX = Source("guozinan/PuLID", f"{APACHE}, with antelopev2 for research only, with Flux.1-dev its own licence")
PULID_COPY = Source("huchenlei/ipadapter_pulid", PULID.licence)
FACEXLIB = Source(
    "xinntao/facexlib", "MIT; trained on CelebAMask-HQ, which is for non-commercial research",
    "https://github.com/xinntao/facexlib/releases/download/v0.2.0/",
)  # fmt: skip
EVA_CLIP = Source("timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k", "MIT")
XLABS = Source("XLabs-AI/flux-ip-adapter", FLUX_DEV)
XLABS_V2 = Source("XLabs-AI/flux-ip-adapter-v2", "Apache-2.0 by its card")
INSTANTX_FLUX = Source("InstantX/FLUX.1-dev-IP-Adapter", FLUX_DEV)
INSTANTX_SD35 = Source("InstantX/SD3.5-Large-IP-Adapter", "Stability AI community")
CIVITAI_STYLE = Source(
    "civitai", "civitai's terms, no sale of images by services", "https://civitai.com/models/1233692"
)  # fmt: skip
OPENAI = Source("openai/clip-vit-large-patch14", "see its card")
LAION_H = Source("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "MIT")
TIMM_L = Source("timm/vit_large_patch14_clip_224.openai", "see its card")
SIGLIP = Source("Comfy-Org/sigclip_vision_384", "see its card")
AURAFACE = Source("fal/AuraFace-v1", "Apache-2.0, but no FaceID adapter was trained with it")
INSIGHTFACE = Source(
    "insightface", RESEARCH, "https://github.com/deepinsight/insightface/releases/download/model-zoo/"
)  # fmt: skip
