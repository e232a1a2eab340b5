"""Lessons that need words beside pictures: a style without its subject, and which weight to use."""

from .kits import Demo, Kit, StableDiffusion
from .lesson import Link
from .registry import lesson

BOTH_TOWERS = "open_clip_ViT-H-14_laion2b_s32b_b79k.safetensors"


@lesson("style_without_the_subject", StableDiffusion)
def style_without_the_subject(k: StableDiffusion) -> None:
    k.models("standard")
    del k.nodes[k.vision.source]  # whose text tower is missing
    vision = k.open_clip(BOTH_TOWERS)
    reference = k.picture("second", "Style reference")
    k.next()
    encoded = k.add("IPAdapterEncoder", ipadapter=k.ipadapter, image=reference, clip_vision=vision)
    words = k.add(
        "IPAdapterSubtractText", embeds=encoded[0], clip_vision=vision, words="a cat, cat face", strength=0.4
    )[0]  # fmt: skip
    k.next()
    applied = k.add(
        "IPAdapterEmbeds", model=k.model, ipadapter=k.ipadapter, pos_embed=words, neg_embed=encoded[1], weight=1.0
    )[0]  # fmt: skip
    k.next()
    prompts = k.conditions("a lighthouse on a cliff, waves, morning light", "")
    latent = k.latent()
    k.next()
    picture = k.sample(applied, **prompts, latent_image=latent)
    k.next()
    k.save(picture)


def shown(title: str, image: Link, height: int, k: Kit) -> None:
    k.add("PreviewImage", title, images=image).part["size"] = [560, height]


@lesson("which_weight", StableDiffusion, Demo)
def which_weight(k: Kit) -> None:
    k.models("standard")
    scorer = k.scorer()
    reference = k.picture("style")
    k.next()
    real, demo = "a fox in a forest", "house"
    words = k.conditions(real, demo)
    latent = k.latent(batch=4)
    k.next()
    settings = {key: value for key, value in k.sampling.items() if key != "denoise"}
    study = k.add(
        "IPAdapterStudy", model=k.model, ipadapter=k.ipadapter, references=reference, scorer=scorer, vae=k.vae,
        clip_vision=k.vision, latent_image=latent, **words, prompt=demo if k.suffix else real,
        weights="0, 0.4, 0.8, 1.2, 1.6", seed=11, control_after_generate="fixed", cell=128, **settings,
    )  # fmt: skip
    k.next()
    shown("Every weight", study[0], 240, k)
    shown("What it brings and costs", study[1], 480, k)
    k.next()
    applied = k.apply(reference, "With the weight of the knee", weight=study[3])
    picture: Link = k.sample(applied, **words, latent_image=latent, seed=11)
    k.next()
    k.save(picture)
