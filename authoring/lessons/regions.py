"""Lessons about places: one reference here, another there."""

from .kits import Demo, Kit, StableDiffusion
from .lesson import Link
from .registry import lesson


def halves(k: Kit, canvas: Link) -> list[Link]:
    split = k.add("IPAdapterSplitCanvas", canvas=canvas, split="columns", columns=2, softness=0.1)
    return [split[1], split[2]]


@lesson("two_people_two_references", StableDiffusion, Demo)
def two_people(k: Kit) -> None:
    k.models("plus face")
    latent = k.latent(wide=True)
    left, right = k.picture("person", "The one on the left"), k.picture("second", "The one on the right")
    k.next()
    masks = halves(k, latent)
    applied = k.apply(left, "Left", weight=0.8, attn_mask=masks[0])
    k.next()
    applied = k.apply(right, "Right", model=applied, weight=0.8, attn_mask=masks[1])
    words = k.conditions("two people on a bench, autumn", "mountains")
    k.next()
    picture = k.sample(applied, **words, latent_image=latent, seed=8)
    k.next()
    k.save(picture)


@lesson("two_regions_two_references", StableDiffusion)
def two_regions(k: Kit) -> None:
    k.models("standard")
    latent = k.latent(wide=True)
    left, right = k.picture("second", "Left reference"), k.picture("style", "Right reference")
    k.next()
    black = k.add("IPAdapterSolidMask", "Nowhere", value=0.0, canvas=latent)[0]
    half = k.add("IPAdapterSolidMask", "Half of the canvas", value=1.0, canvas=latent, width_fraction=0.5)[0]
    masks = [
        k.add("IPAdapterMaskComposite", side, destination=black, source=half, operation="add", x_fraction=share)[0]
        for side, share in (("Left", 0.0), ("Right", 0.5))
    ]
    k.next()
    common = {"ipadapter": k.ipadapter, "clip_vision": k.vision}
    model = k.add("IPAdapterApply", "Left", image=left, model=k.model, attn_mask=masks[0], **common)[0]
    model = k.add("IPAdapterApply", "Right", image=right, model=model, attn_mask=masks[1], **common)[0]
    k.next()
    words = k.conditions("a still life by a window, oil painting", "")
    k.next()
    picture = k.sample(model, **words, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("split_canvas", StableDiffusion)
def split_canvas(k: Kit) -> None:
    k.models("standard")
    latent = k.latent(wide=True)
    left, right = k.picture("person", "The one on the left"), k.picture("second", "The one on the right")
    k.next()
    split = k.add("IPAdapterSplitCanvas", canvas=latent, split="columns", columns=2, softness=0.1)
    k.add("MaskPreview", "All parts", mask=split[0]).part["size"] = [330, 250]
    k.next()
    applied = k.apply(left, "Left", attn_mask=split[1])
    applied = k.apply(right, "Right", model=applied, attn_mask=split[2])
    k.next()
    words = k.conditions("two friends on a bench in a park, autumn", "")
    k.next()
    picture = k.sample(applied, **words, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("regional_prompts", StableDiffusion, Demo)
def regional_prompts(k: Kit) -> None:
    k.models()
    latent = k.latent(wide=True)
    pictures = [k.picture("style", "Left reference"), k.picture("second", "Right reference")]
    k.next()
    masks = halves(k, latent)
    texts = [k.text("a lighthouse", "house", "Left"), k.text("a sailing boat", "tree", "Right")]
    negative = k.nothing()
    k.next()
    regions = [
        k.add("IPAdapterRegionalConditioning", side, image=picture, mask=mask, positive=text, image_weight=0.8)
        for side, picture, mask, text in zip(("Left", "Right"), pictures, masks, texts, strict=True)
    ]
    k.next()
    params = k.add("IPAdapterCombineParams", params_1=regions[0][0], params_2=regions[1][0])[0]
    applied = k.add(
        "IPAdapterFromParams", model=k.model, ipadapter=k.ipadapter, ipadapter_params=params, clip_vision=k.vision
    )[0]
    both = k.add("ConditioningCombine", conditioning_1=regions[0][1], conditioning_2=regions[1][1])[0]
    k.next()
    picture = k.sample(applied, positive=both, negative=negative, latent_image=latent, seed=8)
    k.next()
    k.save(picture)
