"""Lessons on diffusion transformers: the same nodes on Flux and SD3.5."""

from typing import Any

from .kits import StableDiffusion
from .lesson import Link
from .regions import halves
from .registry import lesson


class Transformer(StableDiffusion):
    """A model whose latents have 16 channels."""

    size = (1024, 1024)
    wide = (1216, 832)

    def latent(self, wide: bool = False, batch: int = 1) -> Link:
        width, height = self.wide if wide else self.size
        return self.add("EmptySD3LatentImage", width=width, height=height, batch_size=batch)[0]


class Flux(Transformer):
    """Flux.1-dev with XLabs' adapter. Guidance is a number that the model reads; at CFG 1 no negative prompt acts."""

    checkpoint = "flux1-dev-fp8.safetensors"
    encoder = "clip-vit-large-patch14.safetensors"
    sampling = {"steps": 25, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    adapters = {"standard": "flux-ip-adapter-v2.safetensors"}

    def conditions(self, real: str, demo: str) -> dict[str, Link]:
        text = self.text(real, demo)
        guided = self.add("FluxGuidance", conditioning=text, guidance=3.5)[0]
        return {"positive": guided, "negative": self.add("ConditioningZeroOut", conditioning=text)[0]}


class StableDiffusion35(Transformer):
    """SD3.5 Large with InstantX's adapter."""

    checkpoint = "sd3.5_large_fp8_scaled.safetensors"
    encoder = "sigclip_vision_patch14_384.safetensors"
    sampling = {"steps": 28, "cfg": 4.5, "sampler_name": "euler", "scheduler": "sgm_uniform", "denoise": 1.0}
    adapters = {"standard": "instantx-sd3.5-large-ip-adapter.bin"}


def one_reference(k: Transformer, picture: str, words: str, weight: float) -> None:
    k.models("standard")
    reference = k.picture(picture, "Reference")
    k.next()
    applied = k.apply(reference, weight=weight)
    k.next()
    prompts: dict[str, Any] = k.conditions(words, "")
    latent = k.latent()
    k.next()
    drawn = k.sample(applied, **prompts, latent_image=latent)
    k.next()
    k.save(drawn)


@lesson("flux_style_reference_and_text", Flux)
def flux_style(k: Flux) -> None:
    one_reference(k, "style", "a lighthouse on a cliff, waves, morning light", 0.9)


@lesson("sd35_reference", StableDiffusion35)
def sd35(k: StableDiffusion35) -> None:
    one_reference(k, "content", "a cat in a library, soft light, photograph", 0.6)


@lesson("flux_two_regions_two_references", Flux)
def flux_regions(k: Flux) -> None:
    k.models("standard")
    latent = k.latent(wide=True)
    left, right = k.picture("second", "Left reference"), k.picture("style", "Right reference")
    k.next()
    masks = halves(k, latent)
    applied = k.apply(left, "Left", weight=0.9, attn_mask=masks[0])
    k.next()
    applied = k.apply(right, "Right", model=applied, weight=0.9, attn_mask=masks[1])
    words: dict[str, Any] = k.conditions("a still life by a window, oil painting", "")
    k.next()
    drawn = k.sample(applied, **words, latent_image=latent)
    k.next()
    k.save(drawn)
