"""Lessons that lay results side by side, and those that begin with a picture."""

from .kits import Demo, Kit, StableDiffusion
from .lesson import Link
from .registry import lesson

TYPES = (
    "linear, ease in, ease out, ease in-out, reverse in-out, weak input, weak output, weak middle, strong middle, "
    "style transfer, composition, strong style transfer, style and composition, style transfer precise, "
    "composition precise"
)


@lesson("with_and_without", StableDiffusion)
def with_and_without(k: Kit) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    applied = k.apply(reference, weight=0.8)
    k.next()
    words = k.conditions("a lighthouse on a cliff, waves", "house")
    latent = k.latent()
    k.next()
    pictures = [
        k.sample(k.model, "Without", **words, latent_image=latent),
        k.sample(applied, "With", **words, latent_image=latent),
    ]
    k.sheet(pictures, ["without", "with"])


@lesson("weight_types_side_by_side", StableDiffusion, Demo)
def weight_types(k: Kit) -> None:
    k.models()
    scorer = k.scorer()
    reference = k.picture("style")
    k.next()
    real, demo = "a lighthouse on a cliff, waves", "house"
    words = k.conditions(real, demo)
    latent = k.latent()
    k.next()
    settings = {key: value for key, value in k.sampling.items() if key != "denoise"}
    study = k.add(
        "IPAdapterStudy", model=k.model, ipadapter=k.ipadapter, references=reference, scorer=scorer, vae=k.vae,
        clip_vision=k.vision, latent_image=latent, **words, prompt=demo if k.suffix else real, weights="0.4, 0.8, 1.2",
        weight_types=TYPES, seed=5, control_after_generate="fixed", cell=k.cell, **settings,
    )  # fmt: skip
    k.next()
    k.add("SaveImage", "Every weight type", images=study[0], filename_prefix="atelier").part["size"] = [640, 1000]


@lesson("model_comparison", StableDiffusion)
def model_comparison(k: StableDiffusion) -> None:
    k.models("light")
    reference = k.picture("person")
    words = k.conditions("a portrait by a window, soft light", "")
    latent = k.latent()
    names = ("light", "standard", "plus", "plus face", "full face")
    k.next()
    adapters = [k.ipadapter, *(k.adapter(name) for name in names[1:])]
    k.next()
    models = [
        k.apply(reference, name, ipadapter=adapter, weight=0.8) for name, adapter in zip(names, adapters, strict=True)
    ]
    k.next()
    latents: list[Link] = [k.sampler(model, **words, latent_image=latent) for model in models]
    k.next()
    pictures = [k.decode(latent) for latent in latents]
    k.sheet(pictures, list(names))


@lesson("image_to_image_with_reference", StableDiffusion, Demo)
def image_to_image(k: Kit) -> None:
    k.models()
    start = k.picture("content", "Where it starts")
    reference = k.picture("style", "Whose look it gets")
    k.next()
    applied = k.apply(reference, weight=0.8)
    k.next()
    words = k.conditions("a cat, watercolor", "fish")
    encoded = k.add("VAEEncode", pixels=start, vae=k.vae)[0]
    k.next()
    denoises = (0.4, 0.6, 0.8)
    pictures = [k.sample(applied, f"denoise {d}", **words, latent_image=encoded, denoise=d) for d in denoises]
    k.sheet(pictures, [f"denoise {d}" for d in denoises])


@lesson("inpainting_with_reference", StableDiffusion)
def inpainting(k: Kit) -> None:
    k.models()
    picture = k.add("LoadImage", "Paint the part to replace", image="person_with_hole.png")
    reference = k.picture("second", "What should be there")
    k.next()
    encoded = k.add("VAEEncode", pixels=picture[0], vae=k.vae)[0]
    grown = k.add("GrowMask", mask=picture[1], expand=12, tapered_corners=True)[0]
    masked = k.add("SetLatentNoiseMask", samples=encoded, mask=grown)[0]
    applied = k.apply(reference, weight=1.0, attn_mask=grown)
    k.next()
    words = k.conditions("a portrait, a cat's face", "")
    k.next()
    result = k.sample(applied, **words, latent_image=masked, denoise=0.9)
    k.next()
    k.save(result)
