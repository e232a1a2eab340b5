"""Noise predictions of a patched ComfyUI UNet equal those of diffusers' UNet and IP-Adapter with the same weights."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.utils

import judge
import synthetic
from pack.ipadapter.sites import find_sites
from pack.nodes.applying.apply import Strength, image_prompt
from pack.nodes.applying.encoding import Embeds, Reference
from pack.nodes.loading.adapters import open_pipeline
from pack.nodes.sampling.attach import attach
from test_nodes_pack.unets import tiny_model, unet_config

SIDE, TIMESTEP = 16, 500
SIZES: dict[str, Any] = dict(pooled=24, hidden=40, dim=96, heads=2, face_hidden=1024, lora=False)


def randn(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cache
def models(family):
    """The same weights as diffusers' UNet and as a ComfyUI MODEL."""
    unet, model = judge.tiny_unet(family), tiny_model(family, seed=0)
    names = comfy.utils.unet_to_diffusers(unet_config(family, 32, torch.float32))
    weights = {names[key]: tensor for key, tensor in unet.state_dict().items()}
    model.model.diffusion_model.load_state_dict(weights, strict=True)
    return unet, model


@dataclass
class Used:
    """One adapter as it is used: a variant, its strength, how many pictures, and where."""

    variant: str
    weight: float = 0.7
    images: int = 1
    masks: tuple[str, ...] = ()  # one per picture
    face_strength: float = 1.0

    def checkpoint(self, unet, seed):
        return _checkpoint(self.variant, unet.config.cross_attention_dim, tuple(judge.channels_of(unet)), seed)

    def embeds(self, seed):
        """Features of the pictures and of what the negative prompt sees, one after another."""
        shape = {"standard": (24,), "FaceID": None}.get(self.variant, (257, 40))
        count = self.images + 1
        hidden = randn(count, *shape, seed=seed) if shape else None
        return hidden, randn(count, 512, seed=seed + 1) if self.variant.startswith("FaceID") else None


@cache  # both sides take the same tensors, and change none
def _checkpoint(variant, context, channels, seed):
    sizes = SIZES | {"context": context, "channels": list(channels)}
    if variant.startswith("FaceID Plus"):
        sizes["heads"] = 0
    return synthetic.adapter(variant, seed=seed, **sizes)


def mask(side):
    """A half of the picture, so large that every way of shrinking it to a level's grid agrees."""
    canvas = torch.zeros(1, SIDE * 8, SIDE * 8)
    half = canvas[..., : SIDE * 4] if side == "left" else canvas[..., SIDE * 4 :]
    half.fill_(1.0)
    return canvas


def inputs(family):
    """A latent, the text of a positive and a negative prompt, and SDXL's pooled text and sizes."""
    width = judge.FAMILIES[family]["cross_attention_dim"]
    sizes = torch.tensor([[512.0, 640, 0, 16, 1024, 768], [256, 256, 8, 0, 512, 512]])
    return randn(1, 4, SIDE, SIDE, seed=7), randn(2, 9, width, seed=8), randn(2, 1280, seed=9), sizes


def by_comfyui(family, used):
    """Noise predicted for the positive and the negative prompt in one call."""
    unet, model = models(family)
    attentions = find_sites(model.model.diffusion_model)
    prompts = []
    for i, use in enumerate(used):
        nested = use.checkpoint(unet, seed=i) | {"faceidplusv2": use.variant.endswith("V2")}
        adapter = open_pipeline(nested).adapter
        hidden, face = use.embeds(seed=100 + 10 * i)
        for where, rows in _places(use):
            last = slice(use.images, None)
            embeds = Embeds(
                None if hidden is None else hidden[rows],
                None if hidden is None else hidden[last],
                face=None if face is None else face[rows],
                face_negative=None if face is None else face[last],
            )
            strength = Strength(weight=use.weight, mask=None if where is None else mask(where))
            reference = Reference(face_weight=use.face_strength)
            prompts.append(image_prompt(model, adapter, attentions, embeds, reference, strength))
    patched = attach(model, prompts)
    latent, text, pooled, sizes = inputs(family)
    sigma = model.model.model_sampling.sigmas[TIMESTEP].expand(2)
    options = patched.model_options["transformer_options"] | {
        "wrappers": patched.wrappers,
        "cond_or_uncond": [0, 1],
        "sigmas": sigma,
    }
    noisy = latent.expand(2, -1, -1, -1) * (sigma[0] ** 2 + 1).sqrt()
    vector = {"y": torch.cat((pooled, unet.add_time_proj(sizes.flatten()).view(2, -1)), 1)} if "sdxl" in family else {}
    with torch.no_grad():
        clean = model.model.apply_model(noisy, sigma, c_crossattn=text, transformer_options=options, **vector)
    return (noisy - clean) / sigma[0]


def _places(use):
    """One prompt for all pictures, or one for each mask."""
    if not use.masks:
        return [(None, slice(0, use.images))]
    return [(where, slice(i, i + 1)) for i, where in enumerate(use.masks)]


def by_diffusers(family, used):
    unet = models(family)[0]
    with judge.loaded(unet, [use.checkpoint(unet, seed=i) for i, use in enumerate(used)]):
        return _noise_of(unet, family, used)


def _noise_of(unet, family, used):
    judge.set_scales(unet, [use.weight for use in used])
    given = []
    for i, use in enumerate(used):
        hidden, face = use.embeds(seed=100 + 10 * i)
        pictures, nothing = slice(0, use.images), [use.images] * use.images  # as many negatives as pictures

        def rows(x, pictures=pictures, nothing=nothing):
            return torch.stack((x[pictures], x[nothing]))

        if hidden is not None and face is not None:
            judge.prepare_face(unet, i, rows(hidden), use.face_strength, use.variant.endswith("V2"))
        given.append(rows(hidden if face is None else face))
    latent, text, pooled, sizes = inputs(family)
    conditions = {"image_embeds": given, "text_embeds": pooled, "time_ids": sizes}
    masks = [torch.stack([mask(where) for where in use.masks], dim=1) for use in used if use.masks]
    return unet(
        latent.expand(2, -1, -1, -1),
        TIMESTEP,
        text,
        added_cond_kwargs=conditions,
        cross_attention_kwargs={"ip_adapter_masks": masks} if masks else None,
    ).sample


@cache
def without_adapters(family):
    return by_diffusers(family, [])


CASES = {
    "no adapter": [],
    "standard": [Used("standard")],
    "plus": [Used("plus")],
    "full face": [Used("full face")],
    "FaceID": [Used("FaceID")],
    "FaceID Plus": [Used("FaceID Plus")],
    "FaceID Plus V2": [Used("FaceID Plus V2", face_strength=1.3)],
    "two pictures": [Used("plus", images=2)],
    "two adapters": [Used("standard", 0.5), Used("plus", 0.9)],
    "a mask": [Used("plus", masks=("left",))],
    "two pictures, two masks": [Used("plus", images=2, masks=("left", "right"))],
    "two adapters, two masks": [Used("standard", 0.5, masks=("right",)), Used("FaceID", 0.9, masks=("left",))],
}


# FaceID Plus is as wide inside as the text tokens, which makes SDXL's too large for a test; the layers are the same.
PAIRS = [("sd15", case) for case in CASES] + [("sdxl shallow", case) for case in CASES if "Plus" not in case]


@pytest.fixture(scope="module", autouse=True)
def _forget_models():
    yield
    without_adapters.cache_clear()
    _checkpoint.cache_clear()
    models.cache_clear()  # while ComfyUI is still there to unload them


@pytest.mark.parametrize(("family", "case"), [*PAIRS, ("sdxl", "standard")])
def test_noise_is_predicted_as_by_diffusers(family, case):
    predicted, expected = by_comfyui(family, CASES[case]), by_diffusers(family, CASES[case])
    # float32: two implementations of a UNet whose results are around 0.3 add up in another order
    torch.testing.assert_close(predicted, expected, rtol=0, atol=2e-5)
    if case != "no adapter":
        assert (expected - without_adapters(family)).abs().mean() > 1e-3  # the adapter had something to say
