"""Lessons about the look of a picture."""

from .kits import SDXL, Demo, Kit, StableDiffusion
from .registry import lesson


@lesson("style_reference_and_text", StableDiffusion)
def style_and_text(k: Kit) -> None:
    k.models()
    reference = k.picture("style", "Style reference")
    k.next()
    applied = k.apply(reference, weight=1.0, weight_type="style transfer")
    k.next()
    words = k.conditions("a lighthouse on a cliff, waves, morning light", "house")
    latent = k.latent()
    k.next()
    picture = k.sample(applied, **words, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("style_and_text_balanced", StableDiffusion, Demo)
def balanced(k: Kit) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    applied = k.apply(reference, weight=0.5)
    k.next()
    words = k.conditions("a (cat:1.5) on a sofa, evening", "(fish:1.5)")
    latent = k.latent(batch=4)
    k.next()
    picture = k.sample(applied, **words, latent_image=latent, steps=30)
    k.next()
    k.save(picture)


@lesson("photo_to_cartoon", StableDiffusion)
def photo_to_cartoon(k: StableDiffusion) -> None:
    k.models()
    reference = k.picture("style", "A drawing, for its style")
    photo = k.picture("content", "The photo")
    k.next()
    applied = k.apply(reference, weight=0.9, weight_type="style transfer")
    lines = k.add("Canny", "Lines of the photo", image=photo, low_threshold=0.2, high_threshold=0.5)[0]
    k.add("PreviewImage", "The lines", images=lines)
    k.next()
    words = k.conditions("a cat, cartoon, flat colours", "")
    held = k.control_net("control_v11p_sd15_lineart_fp16.safetensors", **words, image=lines, strength=0.9)
    latent = k.latent()
    k.next()
    picture = k.sample(applied, **held, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("style_and_composition", SDXL)
def style_and_composition(k: Kit) -> None:
    k.models()
    style = k.picture("style", "Style")
    layout = k.picture("person", "Composition")
    k.next()
    applied = k.add(
        "IPAdapterStyleComposition", model=k.model, ipadapter=k.ipadapter, clip_vision=k.vision, image_style=style,
        image_composition=layout, weight_style=1.0, weight_composition=0.8,
    )[0]  # fmt: skip
    k.next()
    words = k.conditions("a statue in a garden", "")
    latent = k.latent()
    k.next()
    picture = k.sample(applied, **words, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("noise_and_negative", StableDiffusion, Demo)
def noise_and_negative(k: Kit) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    noisy = k.add("IPAdapterNoise", type="fade", strength=0.6, blur=0, image_optional=reference)[0]
    k.add("PreviewImage", "What to move away from", images=noisy)
    k.next()
    plain = k.apply(reference, "Without a negative", weight=0.5)
    against = k.apply(reference, "With the noisy copy", weight=0.5, image_negative=noisy)
    k.next()
    words = k.conditions("a still life with flowers, oil painting", "star")
    latent = k.latent()
    k.next()
    guidance = max(4.0, k.sampling["cfg"])  # a negative acts by guidance, of which the demo has little
    pictures = [k.sample(model, **words, latent_image=latent, cfg=guidance) for model in (plain, against)]
    k.sheet(pictures, ["without", "with the noisy copy"])


@lesson("wide_picture_in_tiles", StableDiffusion)
def tiles(k: Kit) -> None:
    k.models()
    reference = k.picture("style", "A wide reference")
    k.next()
    tiled = k.add(
        "IPAdapterTiled", model=k.model, ipadapter=k.ipadapter, clip_vision=k.vision, image=reference, weight=0.8
    )
    k.add("PreviewImage", "The tiles", images=tiled[1])
    k.next()
    words = k.conditions("a breakfast table, wide shot", "")
    latent = k.latent(wide=True)
    k.next()
    picture = k.sample(tiled[0], **words, latent_image=latent)
    k.next()
    k.save(picture)
