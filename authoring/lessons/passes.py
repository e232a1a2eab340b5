"""Lessons about anime models, clean references, few steps and second passes."""

from .kits import SDXL, Demo, Kit, StableDiffusion
from .registry import lesson


class Anime(SDXL):
    """An anime model of SDXL with the adapter that was made for it."""

    checkpoint = "NoobAI-XL-v1.1.safetensors"
    encoder = "CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors"
    adapters = {"standard": "noobIPAMARK1_mark1.safetensors"}
    sampling = {"steps": 28, "cfg": 5.0, "sampler_name": "euler_ancestral", "scheduler": "normal", "denoise": 1.0}


@lesson("anime_models", Anime)
def anime_models(k: Anime) -> None:
    k.models("standard")
    reference = k.picture("second", "One figure, cut out")
    k.next()
    applied = k.apply(reference, weight=0.45, end_at=0.6)
    k.next()
    words = k.conditions("1girl, cat ears, garden, upper body", "")
    latent = k.latent()
    k.next()
    first = k.sampler(applied, "First pass", **words, latent_image=latent)
    larger = k.add("LatentUpscaleBy", samples=first, upscale_method="bislerp", scale_by=1.25)[0]
    k.next()
    picture = k.sample(k.model, "Second pass, without the reference", **words, latent_image=larger, denoise=0.45)
    k.next()
    k.save(picture)


@lesson("second_pass", StableDiffusion)
def second_pass(k: StableDiffusion) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    applied = k.apply(reference, "First pass", weight=0.8)
    weaker = k.apply(reference, "Second pass, weaker", weight=0.3)
    k.next()
    words = k.conditions("a fox in a forest, watercolor", "")
    latent = k.latent()
    k.next()
    first = k.sampler(applied, "First pass", **words, latent_image=latent)
    larger = k.add("LatentUpscaleBy", samples=first, upscale_method="bislerp", scale_by=1.5)[0]
    k.next()
    models = {"off": k.model, "weaker": weaker, "as before": applied}
    pictures = [
        k.sample(model, f"Second pass: {name}", **words, latent_image=larger, denoise=0.5)
        for name, model in models.items()
    ]
    k.sheet(pictures, list(models))


@lesson("clean_reference", StableDiffusion)
def clean_reference(k: StableDiffusion) -> None:
    k.models()
    picture = k.add("LoadImage", "Paint the figure in the mask editor", image="person_with_hole.png")
    k.next()
    grey = k.add("EmptyImage", "A plain background", width=512, height=512, batch_size=1, color=8421504)[0]
    alone = k.add(
        "ImageCompositeMasked", destination=grey, source=picture[0], mask=picture[1], x=0, y=0, resize_source=True
    )[0]  # fmt: skip
    square = k.add("PrepImageForClipVision", image=alone, interpolation="LANCZOS", crop_position="top")[0]
    k.add("PreviewImage", "What the encoder gets", images=square)
    k.next()
    models = {
        "the whole photo": k.apply(picture[0], "The whole photo", weight=0.8),
        "the figure alone": k.apply(square, "The figure alone", weight=0.8),
    }
    k.next()
    words = k.conditions("a portrait in a library, oil painting", "")
    latent = k.latent()
    k.next()
    pictures = [k.sample(model, name.capitalize(), **words, latent_image=latent) for name, model in models.items()]
    k.sheet(pictures, list(models))


LIGHTNING = "sdxl_lightning_4step_lora.safetensors"


class Lightning(SDXL):
    """SDXL in four steps, by the LoRA of SDXL-Lightning, whose authors sample so."""

    sampling = {"steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "sgm_uniform", "denoise": 1.0}

    def models(self, adapter: str = "plus") -> None:
        super().models(adapter)
        lora = self.load("LoraLoaderModelOnly", "lora_name", LIGHTNING)
        lora.part["links"] |= {"model": list(self.model)}
        self.model = lora[0]


@lesson("four_steps", Lightning)
def four_steps_of_lightning(k: Lightning) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    half = k.add("IPAdapterWeightSchedule", "Until 0.4", layers="linear", steps="constant", end=0.4)[0]
    sigmas = k.add("BasicScheduler", model=k.model, scheduler="sgm_uniform", steps=4, denoise=1.0)[0]
    k.next()
    models = {
        "until 1: four steps": k.apply(reference, "Until 1", weight=0.8),
        "until 0.4: two steps": k.apply(reference, "Until 0.4", weight=0.8, schedule=half),
        "until 0.1: one step": k.apply(reference, "Until 0.1", weight=0.8, end_at=0.1),
    }
    k.next()
    words = k.conditions("a fox in a forest, watercolor", "")
    latent = k.latent()
    k.add("IPAdapterSchedulePreview", "The four steps", schedule=half, model=k.model, sigmas=sigmas)
    k.next()
    pictures = [k.sample(model, name.capitalize(), **words, latent_image=latent) for name, model in models.items()]
    k.sheet(pictures, list(models))


@lesson("four_steps", Demo)
def four_steps(k: Kit) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    ends = (1.0, 0.5, 0.1)
    nodes = [
        k.add("IPAdapterReference", f"Until {end:g}", model=k.model, image=reference, take="everything", end_at=end)
        for end in ends
    ]
    sigmas = k.add("BasicScheduler", model=k.model, scheduler="normal", steps=4, denoise=1.0)[0]
    k.next()
    words = k.conditions("", "house")
    latent = k.latent()
    k.add("IPAdapterSchedulePreview", "The four steps", schedule=nodes[1][1], model=k.model, sigmas=sigmas)
    k.next()
    pictures = [
        k.sample(node[0], f"Until {end:g}", **words, latent_image=latent, steps=4)
        for node, end in zip(nodes, ends, strict=True)
    ]
    k.sheet(pictures, [f"until {end:g}" for end in ends])
