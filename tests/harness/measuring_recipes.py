"""The graphs in workflows/ that need words beside pictures: a style without its subject, and which weight to use."""

from typing import Any

from .recipes import base, loader, part, picture

BOTH_TOWERS, SCORER = "open_clip_ViT-H-14_laion2b_s32b_b79k.safetensors", "open_clip_ViT-L-14_openai.safetensors"
STANDARD = "ip-adapter_sd15.safetensors"
SUBTRACT_NOTE = """The reference's **embeds minus the words** of what should not come along (InstantStyle).

- **words**: the subject of the reference, not its style.
- **strength**: 0.2 to 0.5 for *subtract*; too much takes the style along.
- Ctrl+B on *IPAdapter Subtract Text* shows the reference as it is.

It needs an adapter that takes pooled embeds (not plus) and its encoder with the text tower: a file of 3.9 GB, in place
of Load CLIP Vision."""
STUDY_NOTE = """*Which weight should I use for this reference?* The study samples every weight, measures the pictures
(**CLIP-I**: near the reference, **CLIP-T**: near the prompt) and names the knee: where more of the reference begins to
cost more of the prompt than it brings. That weight goes straight into the apply node.

- Write in **prompt** what CLIP Text Encode says.
- **references** takes a batch; **weight_types** takes several: one row each.
- The encoder that scores is **not the one that steers**, which would overrate its own adapter."""
DEMO_NOTE = """Press **Run**: five weights for one reference, drawn by the demo models and measured: half a minute on a
CPU. The **curve** says what every weight brings and costs, and the weight at its knee draws the pictures on the right.

Here the encoder that scores is the one that steers: the demo has no other, so read the curve's shape, not its height.
For real models see the workflow *Which weight?*."""


def style_without_the_subject() -> dict[str, Any]:
    nodes = base(STANDARD, "a lighthouse on a cliff, waves, morning light", ("apply", 0), 1110)
    nodes["vision"] = loader("IPAdapterOpenCLIPLoader", 260, 160, "file", BOTH_TOWERS)
    nodes["reference"] = picture(0, 480, "chelsea.png", "Style reference")
    pictures = {"ipadapter": ["adapter", 0], "image": ["reference", 0], "clip_vision": ["vision", 0]}
    nodes["encoder"] = part("IPAdapterEncoder", 390, 0, pictures, size=[330, 150])
    words = {"words": "a cat, cat face", "strength": 0.4}
    subtracted = {"embeds": ["encoder", 0], "clip_vision": ["vision", 0]}
    nodes["subtract"] = part("IPAdapterSubtractText", 390, 210, subtracted, widgets=words, size=[330, 210])
    nodes["note"] = part(
        "MarkdownNote", 390, 480, widgets={"text": SUBTRACT_NOTE}, title="Style without the subject", size=[680, 250]
    )
    links = {
        "model": ["checkpoint", 0], "ipadapter": ["adapter", 0], "pos_embed": ["subtract", 0],
        "neg_embed": ["encoder", 1],
    }  # fmt: skip
    nodes["apply"] = part("IPAdapterEmbeds", 740, 0, links, widgets={"weight": 1.0}, size=[330, 330])
    return {"nodes": nodes}


def studied(x: int, links: dict[str, Any], size: int, **widgets: Any) -> dict[str, Any]:
    """The study at x, so high, and what it shows beside it; `links` are its sockets."""
    return {
        "study": part("IPAdapterStudy", x, 0, links, widgets=widgets, size=[400, size]),
        "sheet": part("PreviewImage", x + 440, 0, {"images": ["study", 0]}, title="Every weight", size=[560, 220]),
        "curve": part(
            "PreviewImage", x + 440, 280, {"images": ["study", 1]}, title="What it brings and costs", size=[560, 500]
        ),
    }


def which_weight() -> dict[str, Any]:
    text = "a fox in a forest"
    nodes = base(STANDARD, text, ("apply", 0), 1770)
    nodes["latent"]["widgets"]["batch_size"] = 4
    scorer = loader("IPAdapterOpenCLIPLoader", 380, 160, "file", SCORER)
    scorer["widgets"]["activation"] = "quick_gelu"  # as OpenAI trained it
    nodes["scorer"] = scorer | {"title": "The encoder that scores"}
    nodes["reference"] = picture(0, 600, "coffee.png", "Reference")
    links = {
        "model": ["checkpoint", 0], "ipadapter": ["adapter", 0], "references": ["reference", 0],
        "scorer": ["scorer", 0], "positive": ["positive", 0], "negative": ["negative", 0],
        "latent_image": ["latent", 0], "vae": ["checkpoint", 2], "clip_vision": ["vision", 0],
    }  # fmt: skip
    sampling = {"seed": 42, "control_after_generate": "fixed", "steps": 20, "cfg": 6.0, "sampler_name": "dpmpp_2m"}
    nodes |= studied(390, links, 560, prompt=text, scheduler="karras", **sampling)
    nodes["note"] = part(
        "MarkdownNote", 390, 840, widgets={"text": STUDY_NOTE}, title="Which weight?", size=[1000, 240]
    )
    applied = {
        "model": ["checkpoint", 0], "ipadapter": ["adapter", 0], "image": ["reference", 0],
        "clip_vision": ["vision", 0], "weight": ["study", 3],
    }  # fmt: skip
    nodes["apply"] = part("IPAdapterAdvanced", 1410, 0, applied, size=[320, 330], title="With the weight of the knee")
    return {"nodes": nodes}


def which_weight_no_downloads() -> dict[str, Any]:
    sampling = {
        "seed": 11, "control_after_generate": "fixed", "steps": 16, "cfg": 2.0, "sampler_name": "euler",
        "scheduler": "normal",
    }  # fmt: skip
    links = {
        "model": ["models", 0], "ipadapter": ["models", 2], "references": ["reference", 0], "scorer": ["models", 1],
        "positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0], "vae": ["models", 3],
        "clip_vision": ["models", 1],
    }  # fmt: skip
    applied = {
        "model": ["models", 0], "ipadapter": ["models", 2], "image": ["reference", 0], "clip_vision": ["models", 1],
        "weight": ["study", 3],
    }  # fmt: skip
    sampled = {
        "model": ["apply", 0], "positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0],
    }  # fmt: skip
    nodes = {
        "models": part("IPAdapterDemoLoader", 0, 0, widgets={"adapter": "plus"}, size=[330, 130]),
        "reference": part("IPAdapterDemoReference", 0, 190, widgets={"picture": "yellow on rings"}, size=[330, 300]),
        "positive": part("IPAdapterDemoPrompt", 0, 550, widgets={"words": "house"}, title="What to draw"),
        "negative": part("IPAdapterDemoPrompt", 0, 660, widgets={"words": ""}, title="Negative: nothing"),
        "latent": part(
            "EmptyLatentImage", 0, 770, widgets={"width": 96, "height": 96, "batch_size": 4}, size=[330, 106]
        ),
        **studied(390, links, 780, prompt="house", weights="0, 0.4, 0.8, 1.2, 1.6", cell=128, **sampling),
        "note": part("MarkdownNote", 390, 840, widgets={"text": DEMO_NOTE}, title="Which weight?", size=[1000, 190]),
        "apply": part("IPAdapterAdvanced", 1430, 0, applied, size=[330, 330], title="With the weight of the knee"),
        "sampler": part("KSampler", 1430, 390, sampled, widgets=sampling, size=[330, 262]),
        "decode": part("VAEDecode", 1430, 710, {"samples": ["sampler", 0], "vae": ["models", 3]}, size=[330, 46]),
        "larger": part(
            "ImageScaleBy", 1430, 810, {"image": ["decode", 0]}, widgets={"upscale_method": "lanczos", "scale_by": 3.0},
            size=[330, 82], title="Larger, to look at",
        ),
        "save": part(
            "SaveImage", 1800, 0, {"images": ["larger", 0]}, widgets={"filename_prefix": "atelier"}, size=[560, 640]
        ),
    }  # fmt: skip
    return {"nodes": nodes, "run": True}


RECIPES: dict[str, dict[str, Any]] = {
    "style_without_the_subject": style_without_the_subject(),
    "which_weight": which_weight(),
    "which_weight_no_downloads": which_weight_no_downloads(),
}
