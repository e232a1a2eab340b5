"""The neighbours: what each does to a model, to the conditionings and the latent, or to the sampler."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.graph import Link
from harness.sampling import TOKENS
from harness.wiring import Wiring


@dataclass
class Scene:
    """What a sampler gets beside its model."""

    positive: Link
    negative: Link
    latent: Link
    steps: int


def prompt(w: Wiring, family: str, seed: int) -> Link:
    return w.graph.add("TestConditioning", family=family, seed=seed, tokens=TOKENS)[0]


def scene_of(w: Wiring, size: int, steps: int) -> Scene:
    width = "sd15" if w.family == "sd15" else "sdxl"
    positive, negative = (prompt(w, width, seed) for seed in (10, 20))
    latent = w.graph.add("EmptyLatentImage", width=size, height=size, batch_size=1)[0]
    return Scene(positive, negative, latent, steps)


def ksampler(w: Wiring, model: Link, scene: Scene) -> Link:
    widgets = {
        "seed": 5,
        "steps": scene.steps,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
    }
    links = {"model": model, "positive": scene.positive, "negative": scene.negative, "latent_image": scene.latent}
    return w.graph.add("KSampler", **(links | widgets))[0]


@dataclass(frozen=True)
class Neighbour:
    """Where it stands in a graph: on the model (before ours, or after it), beside the model, or as the sampler."""

    model: Callable[[Wiring, Link], Link] | None = None
    scene: Callable[[Wiring, Scene], Scene] = lambda w, scene: scene
    sampler: Callable[[Wiring, Link, Scene], Link] = ksampler
    base: tuple[str, dict[str, Any]] = ("TestModel", {"family": "sd15"})
    size: int = 64
    steps: int = 1
    needs: str = ""  # a node that came with a later release of ComfyUI than the oldest that the pack runs on

    @property
    def family(self) -> str:
        return self.base[1].get("family", "sd15")

    def model_of(self, w: Wiring, **more: int) -> Link:
        """The model that it and image prompts are added to."""
        return w.graph.add(self.base[0], **self.base[1], seed=1, **more)[0]

    def picture(self, w: Wiring, model: Link) -> Link:
        """The latent that is sampled beside it."""
        return self.sampler(w, model, self.scene(w, scene_of(w, self.size, self.steps)))

    def plain(self, w: Wiring, model: Link) -> Link:
        """The latent that is sampled without it."""
        return ksampler(w, model, scene_of(w, self.size, self.steps))


def node(node_id: str, **inputs: Any) -> Callable[[Wiring, Link], Link]:
    """A node from a model to a model, with its defaults."""
    return lambda w, model: w.add(node_id, model=model, **inputs)[0]


# Beside the model


def control_net(w: Wiring, scene: Scene) -> Scene:
    net = w.graph.add("TestControlNet", control_net_name="canny")[0]
    both = w.add(
        "ControlNetApplyAdvanced", positive=scene.positive, negative=scene.negative, control_net=net,
        image=w.image(7, width=64, height=64),
    )  # fmt: skip
    return Scene(both[0], both[1], scene.latent, scene.steps)


def area(w: Wiring, scene: Scene) -> Scene:
    part = prompt(w, "sd15", 30)
    left = w.add("ConditioningSetArea", conditioning=part, width=64, height=128, x=64, y=0, strength=1.0)[0]
    both = w.graph.add("ConditioningCombine", conditioning_1=scene.positive, conditioning_2=left)[0]
    return Scene(both, scene.negative, scene.latent, scene.steps)


def masked(w: Wiring, scene: Scene) -> Scene:
    part = prompt(w, "sd15", 30)
    left = w.add("ConditioningSetMask", conditioning=part, mask=w.left_half())[0]
    both = w.graph.add("ConditioningCombine", conditioning_1=scene.positive, conditioning_2=left)[0]
    return Scene(both, scene.negative, scene.latent, scene.steps)


def combined(w: Wiring, scene: Scene) -> Scene:
    other = prompt(w, "sd15", 30)
    both = w.graph.add("ConditioningCombine", conditioning_1=scene.positive, conditioning_2=other)[0]
    return Scene(both, scene.negative, scene.latent, scene.steps)


def in_time(w: Wiring, scene: Scene) -> Scene:
    other = prompt(w, "sd15", 30)
    early = w.graph.add("ConditioningSetTimestepRange", conditioning=scene.positive, start=0.0, end=0.4)[0]
    late = w.graph.add("ConditioningSetTimestepRange", conditioning=other, start=0.4, end=1.0)[0]
    both = w.graph.add("ConditioningCombine", conditioning_1=early, conditioning_2=late)[0]
    return Scene(both, scene.negative, scene.latent, scene.steps)


def gligen(w: Wiring, scene: Scene) -> Scene:
    clip = w.graph.add("TestCheckpoint", ckpt_name="sd15")[1]
    boxed = w.add(
        "GLIGENTextBoxApply", conditioning_to=scene.positive, clip=clip, text="a red boat", width=32, height=32,
        gligen_textbox_model=w.graph.add("TestGligen", model=w.model)[0],
    )  # fmt: skip
    return Scene(boxed[0], scene.negative, scene.latent, scene.steps)


def unclip(w: Wiring, scene: Scene) -> Scene:
    vision = w.graph.add("TestClipVision", seed=4, projection=1280)[0]
    seen = w.graph.add("CLIPVisionEncode", clip_vision=vision, image=w.image(8), crop="center")[0]
    told = w.add("unCLIPConditioning", conditioning=scene.positive, clip_vision_output=seen)[0]
    return Scene(told, scene.negative, scene.latent, scene.steps)


def hooked(w: Wiring, scene: Scene) -> Scene:
    hooks = w.graph.add("TestHook", model=w.model)[0]
    both = w.add("PairConditioningSetProperties", positive_NEW=scene.positive, negative_NEW=scene.negative, hooks=hooks)
    return Scene(both[0], both[1], scene.latent, scene.steps)


def inpainted(w: Wiring, scene: Scene) -> Scene:
    found = w.add(
        "InpaintModelConditioning", positive=scene.positive, negative=scene.negative, mask=w.left_half(),
        vae=w.graph.add("TestVae", family="sd15")[0], pixels=w.image(9, width=64, height=64),
    )  # fmt: skip
    return Scene(found[0], found[1], found[2], scene.steps)


def instructed(w: Wiring, scene: Scene) -> Scene:
    found = w.graph.add(
        "InstructPixToPixConditioning", positive=scene.positive, negative=scene.negative,
        vae=w.graph.add("TestVae", family="sd15")[0], pixels=w.image(9, width=64, height=64),
    )  # fmt: skip
    return Scene(found[0], found[1], found[2], scene.steps)


def painted_over(w: Wiring, scene: Scene) -> Scene:
    """A latent with a mask of greys, which Differential Diffusion reads as how long to paint."""
    black, grey = (w.graph.add("SolidMask", value=v, width=n, height=64)[0] for v, n in ((0.3, 64), (0.8, 32)))
    mask = w.graph.add("MaskComposite", destination=black, source=grey, x=0, y=0, operation="add")[0]
    latent = w.graph.add("SetLatentNoiseMask", samples=scene.latent, mask=mask)[0]
    return Scene(scene.positive, scene.negative, latent, scene.steps)


# As the sampler


def guided(make: Callable[[Wiring, Link, Scene], Link]) -> Callable[[Wiring, Link, Scene], Link]:
    """SamplerCustomAdvanced with a guider."""

    def sampler(w: Wiring, model: Link, scene: Scene) -> Link:
        sigmas = w.add("BasicScheduler", model=model, scheduler="normal", steps=scene.steps, denoise=1.0)[0]
        return w.add(
            "SamplerCustomAdvanced", noise=w.graph.add("RandomNoise", noise_seed=5)[0], sigmas=sigmas,
            guider=make(w, model, scene), sampler=w.graph.add("KSamplerSelect", sampler_name="euler")[0],
            latent_image=scene.latent,
        )[0]  # fmt: skip

    return sampler


def perp_neg(w: Wiring, model: Link, scene: Scene) -> Link:
    empty = prompt(w, "sd15", 40)
    links = {"model": model, "positive": scene.positive, "negative": scene.negative, "empty_conditioning": empty}
    return w.add("PerpNegGuider", **links)[0]


def dual_cfg(style: str) -> Callable[[Wiring, Link, Scene], Link]:
    def make(w: Wiring, model: Link, scene: Scene) -> Link:
        other = prompt(w, "sd15", 30)
        links = {"model": model, "cond1": scene.positive, "cond2": other, "negative": scene.negative}
        return w.add("DualCFGGuider", style=style, **links)[0]

    return make


def then_refined(w: Wiring, model: Link, scene: Scene) -> Link:
    """The first step by the model, the second by SDXL's refiner, as in its published workflow."""
    steps = {"noise_seed": 5, "steps": 2, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal"}
    links = {"positive": scene.positive, "negative": scene.negative}
    first = w.graph.add(
        "KSamplerAdvanced", model=model, latent_image=scene.latent, add_noise="enable", start_at_step=0, end_at_step=1,
        return_with_leftover_noise="enable", **links, **steps,
    )[0]  # fmt: skip
    refiner = w.graph.add("TestModel", family="sdxl refiner", seed=2)[0]
    texts = [prompt(w, "sdxl refiner", seed) for seed in (10, 20)]
    links = {"positive": texts[0], "negative": texts[1]}
    return w.graph.add(
        "KSamplerAdvanced", model=refiner, latent_image=first, add_noise="disable", start_at_step=1, end_at_step=2,
        return_with_leftover_noise="disable", **links, **steps,
    )[0]  # fmt: skip


def two_models(w: Wiring, model: Link, scene: Scene) -> Link:
    """The positive prompt by the model with image prompts, the negative one by another model."""
    other = w.graph.add("TestModel", family="sd15", seed=2)[0]
    links = {"model": model, "model_negative": other, "positive": scene.positive, "negative": scene.negative}
    return w.add("DualModelGuider", **links)[0]


# Models of their own


def merged(w: Wiring, model: Link) -> Link:
    other = w.graph.add("TestModel", family="sd15", seed=2)[0]
    return w.graph.add("ModelMergeSimple", model1=model, model2=other, ratio=0.7)[0]


SHALLOW = ("TestModel", {"family": "sdxl shallow"})


NEIGHBOURS: dict[str, Neighbour] = {
    "ControlNet": Neighbour(scene=control_net),
    "LoRA": Neighbour(node("TestLora", strength=1.0)),
    "FreeU": Neighbour(node("FreeU")),
    "FreeU V2": Neighbour(node("FreeU_V2"), size=128),
    "Perturbed-Attention Guidance": Neighbour(node("PerturbedAttentionGuidance")),
    "Self-Attention Guidance": Neighbour(node("SelfAttentionGuidance"), size=128),
    "HyperTile": Neighbour(node("HyperTile", tile_size=32, swap_size=1, max_depth=1), size=128),
    "Token Merging": Neighbour(node("TomePatchModel", ratio=0.5)),
    "RescaleCFG": Neighbour(node("RescaleCFG")),
    "Perp-Neg": Neighbour(sampler=guided(perp_neg)),
    "Dual CFG": Neighbour(sampler=guided(dual_cfg("regular"))),
    "Dual CFG, nested": Neighbour(sampler=guided(dual_cfg("nested"))),
    "Dual Model CFG": Neighbour(sampler=guided(two_models), needs="DualModelGuider"),
    "Differential Diffusion": Neighbour(node("DifferentialDiffusion"), scene=painted_over),
    "Kohya Deep Shrink": Neighbour(
        node("PatchModelAddDownscale", downscale_method="bicubic", upscale_method="bicubic"), size=128
    ),
    "Conditioning by area": Neighbour(scene=area, size=128),
    "Conditioning by mask": Neighbour(scene=masked),
    "Combined conditioning": Neighbour(scene=combined),
    "Conditioning by time": Neighbour(scene=in_time, steps=2),
    "Conditioning hooks": Neighbour(scene=hooked),
    "GLIGEN": Neighbour(scene=gligen),
    "unCLIP": Neighbour(scene=unclip, base=SHALLOW),
    "Inpainting model": Neighbour(scene=inpainted, base=("TestConcatModel", {"channels": 9})),
    "InstructPix2Pix": Neighbour(scene=instructed, base=("TestConcatModel", {"channels": 8})),
    "Model merging": Neighbour(merged),
    "SDXL refiner": Neighbour(sampler=then_refined, base=SHALLOW, steps=2),
    "Another attention, as SageAttention": Neighbour(node("TestAttentionOverride")),
    "Patches on keys, values and output": Neighbour(node("TestTextPatches")),
}
