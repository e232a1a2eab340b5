"""Lessons on edit models, which take reference pictures themselves; no adapter is needed."""

from typing import Any

from .files import named
from .lesson import Link
from .regions import halves
from .registry import lesson
from .transformers import Transformer


class EditModel(Transformer):
    """A diffusion model, its text encoders and its VAE, each from a file of its own."""

    encoders: tuple[str, ...]
    text_encoder: tuple[str, str]  # the loader of the text encoders, and the type of model that it is told
    vae_file: str

    def bare_models(self) -> None:
        self.model = self.load("UNETLoader", "unet_name", self.checkpoint)[0]
        loader, kind = self.text_encoder
        inputs = ["clip_name"] if len(self.encoders) == 1 else [f"clip_name{n + 1}" for n in range(len(self.encoders))]
        node = self.add(loader, **dict(zip(inputs, self.encoders, strict=True)), type=kind)
        node.part["models"] = [model for name in self.encoders for model in named(name)]
        self.clip = node[0]
        self.vae = self.load("VAELoader", "vae_name", self.vae_file)[0]

    def weigh(self, title: str, /, **inputs: Any) -> Link:
        return self.add("IPAdapterReferenceWeights", title, **({"model": self.model} | inputs))[0]


class Kontext(EditModel):
    """Flux.1 Kontext, with the settings of ComfyUI's own template."""

    checkpoint = "flux1-dev-kontext_fp8_scaled.safetensors"
    encoders = ("clip_l.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors")
    text_encoder = ("DualCLIPLoader", "flux")
    vae_file = "ae.safetensors"
    sampling = {"steps": 20, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}


class QwenEdit(EditModel):
    """Qwen-Image-Edit 2509, with the settings of ComfyUI's own template."""

    checkpoint = "qwen_image_edit_2509_fp8_e4m3fn.safetensors"
    encoders = ("qwen_2.5_vl_7b_fp8_scaled.safetensors",)
    text_encoder = ("CLIPLoader", "qwen_image")
    vae_file = "qwen_image_vae.safetensors"
    sampling = {"steps": 20, "cfg": 4.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}

    def bare_models(self) -> None:
        super().bare_models()
        self.model = self.add("ModelSamplingAuraFlow", model=self.model, shift=3.0)[0]
        self.model = self.add("CFGNorm", model=self.model, strength=1.0)[0]


@lesson("two_references_on_an_edit_model_each_in_its_place", QwenEdit)
def two_references(k: QwenEdit) -> None:
    k.bare_models()
    k.next()
    latent = k.latent(wide=True)
    first, second = k.picture("person", "Reference 1: for the left"), k.picture("content", "Reference 2: for the right")
    k.next()
    left, right = halves(k, latent)
    weighed = k.weigh("Reference 1, on the left", reference=1, attn_mask=left)
    weighed = k.weigh("Reference 2, on the right", model=weighed, reference=2, attn_mask=right)
    k.next()
    pictures = {"clip": k.clip, "vae": k.vae, "image1": first, "image2": second}
    words = {"positive": "The person of picture 1 on the left and the cat of picture 2 on the right, in a garden."}
    texts = {
        name: k.add("TextEncodeQwenImageEditPlus", name.capitalize(), prompt=words.get(name, ""), **pictures)[0]
        for name in ("positive", "negative")
    }
    k.next()
    drawn = k.sample(weighed, **texts, latent_image=latent)
    k.next()
    k.save(drawn)


@lesson("a_reference_that_fades_out", Kontext)
def fading_reference(k: Kontext) -> None:
    k.bare_models()
    k.next()
    reference = k.picture("person", "The picture to change")
    scaled = k.add("FluxKontextImageScale", image=reference)[0]
    seen = k.add("VAEEncode", "As the model sees pictures", pixels=scaled, vae=k.vae)[0]
    k.next()
    fading = k.add("IPAdapterWeightSchedule", "Fades out", layers="linear", steps="ease out", low=0.0, high=1.0)[0]
    k.add("IPAdapterSchedulePreview", "What the schedule does", schedule=fading, model=k.model)
    k.next()
    models = {
        "the whole time": k.model,
        "until 0.5": k.weigh("Until the middle", end_at=0.5),
        "fading out": k.weigh("Fading out", schedule=fading),
    }
    k.next()
    text = k.text("Make it a marble statue in a dark museum, one lamp from the left.", "")
    edited = k.add("ReferenceLatent", conditioning=text, latent=seen)[0]
    positive = k.add("FluxGuidance", conditioning=edited, guidance=2.5)[0]
    texts = {"positive": positive, "negative": k.add("ConditioningZeroOut", conditioning=text)[0]}
    k.next()
    pictures = [k.sample(model, title.capitalize(), **texts, latent_image=seen) for title, model in models.items()]
    k.sheet(pictures, list(models))
