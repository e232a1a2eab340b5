"""The graphs in workflows/ about schedules, regions and looking closer."""

from typing import Any

from .recipes import base, part, picture

PLUS, STANDARD = "ip-adapter-plus_sd15.safetensors", "ip-adapter_sd15.safetensors"


def applied(x: int, model: str = "checkpoint", reference: str = "reference", **links: Any) -> dict[str, Any]:
    wires = {
        "model": [model, 0], "ipadapter": ["adapter", 0], "image": [reference, 0], "clip_vision": ["vision", 0],
    }  # fmt: skip
    return part("IPAdapterAdvanced", x, 0, wires | links, size=[330, 330])


def weight_schedule() -> dict[str, Any]:
    nodes = base(PLUS, "a fox in a forest, watercolor", ("apply", 0), 1110)
    nodes["reference"] = picture(0, 400, "coffee.png", "Reference")
    leaving = {"layers": "linear", "layer_text": "composition", "steps": "cosine down", "end": 0.5}
    coming = {"layers": "linear", "layer_text": "style:1, 6-8:0.3", "steps": "ease in", "low": 0.3}
    schedule = "IPAdapterWeightSchedule"
    nodes["coming"] = part(schedule, 390, 0, widgets=coming, title="Style comes in", size=[330, 420])
    nodes["leaving"] = part(schedule, 390, 480, widgets=leaving, title="Composition leaves", size=[330, 420])
    both = {"first": ["coming", 0], "second": ["leaving", 0]}
    method = {"method": "composition from second"}
    nodes["both"] = part("IPAdapterCombineSchedules", 740, 390, both, widgets=method, size=[330, 130])
    shown = {"schedule": ["both", 0], "model": ["checkpoint", 0]}
    nodes["preview"] = part("IPAdapterSchedulePreview", 740, 580, shown, size=[330, 380])
    nodes["apply"] = applied(740, schedule=["both", 0])
    return {"nodes": nodes}


def split_canvas() -> dict[str, Any]:
    nodes = base(STANDARD, "two friends on a bench in a park, autumn", ("right", 0), 1110)
    nodes["latent"] |= {"at": [0, 390], "widgets": {"width": 768, "height": 512}}
    nodes["left picture"] = picture(390, 400, "astronaut.png", "The one on the left")
    nodes["right picture"] = picture(740, 400, "chelsea.png", "The one on the right")
    halves = {"split": "columns", "columns": 2, "softness": 0.1}
    nodes["split"] = part("IPAdapterSplitCanvas", 0, 560, {"canvas": ["latent", 0]}, widgets=halves, size=[330, 460])
    nodes["left"] = applied(390, reference="left picture", attn_mask=["split", 1])
    nodes["right"] = applied(740, "left", "right picture", attn_mask=["split", 2])
    return {"nodes": nodes}


def attention_map() -> dict[str, Any]:
    nodes = base(PLUS, "a portrait in a garden, oil painting", ("recorder", 0), 740)
    nodes["reference"] = picture(0, 400, "astronaut.png", "Reference")
    nodes["apply"] = applied(390)
    nodes["recorder"] = part("IPAdapterAttentionRecorder", 390, 400, {"model": ["apply", 0]}, size=[330, 60])
    for name, y, layers in (("style", 0, "style"), ("composition", 480, "composition")):
        links = {"attention": ["recorder", 1], "image": ["decode", 0]}
        nodes[name] = part(
            "IPAdapterAttentionMap", 1460, y, links, widgets={"layers": layers}, size=[330, 420],
            title=f"Where the {name} layers listened",
        )  # fmt: skip
    return {"nodes": nodes}


def layer_sweep() -> dict[str, Any]:
    nodes = base(PLUS, "a lighthouse on a cliff, waves, morning light", ("apply", 0), 740)
    nodes["reference"] = picture(0, 400, "coffee.png", "Reference")
    nodes["apply"] = applied(390)
    links = {
        "model": ["apply", 0], "positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0],
        "vae": ["checkpoint", 2],
    }  # fmt: skip
    sampling = {
        "seed": 42, "control_after_generate": "fixed", "steps": 20, "cfg": 6.0, "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
    }  # fmt: skip
    nodes["sweep"] = part("IPAdapterLayerSweep", 1460, 0, links, widgets=sampling, size=[420, 690])
    return {"nodes": nodes}


RECIPES: dict[str, dict[str, Any]] = {
    "weight_schedule": weight_schedule(),
    "split_canvas": split_canvas(),
    "attention_map": attention_map(),
    "layer_sweep": layer_sweep(),
}
