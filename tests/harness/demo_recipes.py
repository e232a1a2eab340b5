"""The graph in workflows/ that needs no files but the pack's own."""

from typing import Any

from .demo_graph import SAMPLER
from .recipes import part

NOTE = """Press **Run**: four boats in the style of the reference, drawn by tiny models that come with this pack.

Then change one thing and run again:
- another **picture** as the reference, or Load Image in its place;
- other **words**: moon, fish, tree, star, house, heart, mountains, circle, triangle;
- **weight** 0 (words only) to 1.5; **end_at** 0.3; **weight_type**;
- Ctrl+B on Apply IPAdapter takes the reference away.

For real pictures put Load Checkpoint, Load CLIP Vision and IPAdapter Model Loader where the demo's models are, and
CLIP Text Encode where its prompts are. Everything between stays as it is."""


def try_it() -> dict[str, Any]:
    sampler = {"seed": 11, "control_after_generate": "fixed"} | SAMPLER
    applied = {
        "ipadapter": ["models", 2],
        "clip_vision": ["models", 1],
        "image": ["reference", 0],
        "model": ["models", 0],
    }
    sampled = {
        "model": ["apply", 0], "positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0],
    }  # fmt: skip
    nodes = {
        "models": part("IPAdapterDemoLoader", 0, 0, widgets={"adapter": "plus"}, size=[300, 130]),
        "reference": part("IPAdapterDemoReference", 0, 190, widgets={"picture": "yellow on rings"}, size=[300, 350]),
        "note": part("MarkdownNote", 0, 600, widgets={"text": NOTE}, title="Try it", size=[670, 270]),
        "apply": part(
            "IPAdapterApply", 340, 0, applied, widgets={"weight": 0.8, "weight_type": "linear"}, size=[330, 330]
        ),
        "latent": part(
            "EmptyLatentImage", 340, 400, widgets={"width": 96, "height": 96, "batch_size": 4}, size=[330, 106]
        ),
        "positive": part("IPAdapterDemoPrompt", 710, 0, widgets={"words": "boat"}, title="What to draw"),
        "negative": part("IPAdapterDemoPrompt", 710, 110, widgets={"words": ""}, title="Negative: nothing"),
        "sampler": part("KSampler", 710, 220, sampled, widgets=sampler, size=[300, 262]),
        "decode": part("VAEDecode", 710, 540, {"samples": ["sampler", 0], "vae": ["models", 3]}, size=[300, 46]),
        "larger": part(
            "ImageScaleBy", 710, 640, {"image": ["decode", 0]}, widgets={"upscale_method": "lanczos", "scale_by": 3.0},
            size=[300, 82], title="Larger, to look at",
        ),
        "save": part(
            "SaveImage", 1050, 0, {"images": ["larger", 0]}, widgets={"filename_prefix": "atelier"}, size=[640, 720]
        ),
    }
    return {"nodes": nodes, "run": True}


RECIPES = {"try_it_no_downloads": try_it()}
