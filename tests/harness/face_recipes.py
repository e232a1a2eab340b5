"""The graphs in workflows/ that follow a face."""

from typing import Any

from .recipes import base, part, picture

PACKS = ("buffalo_l", "auraface")  # that the graphs name


def same_person() -> dict[str, Any]:
    nodes = base(
        "ip-adapter-faceid_sd15.bin", "a portrait of a sailor on deck, storm, oil painting", ("apply", 0), 1120
    )
    del nodes["vision"]  # FaceID without Plus looks at no picture
    nodes["detector"] = part("IPAdapterInsightFaceLoader", 0, 260, widgets={"model_name": "buffalo_l"}, size=[330, 82])
    nodes["reference"] = picture(0, 400, "astronaut.png", "The person")
    lora = {"model": ["checkpoint", 0], "ipadapter": ["adapter", 0]}
    nodes["lora"] = part("IPAdapterFaceIDLoRA", 390, 0, lora, widgets={"strength": 0.6}, size=[300, 82])
    links = {
        "model": ["lora", 0], "ipadapter": ["adapter", 0], "image": ["reference", 0], "insightface": ["detector", 0],
    }  # fmt: skip
    nodes["apply"] = part("IPAdapterFaceID", 740, 0, links, widgets={"weight": 0.9}, size=[330, 420])
    nodes["used"] = part(
        "PreviewImage", 740, 480, {"images": ["apply", 1]}, title="The face that was used", size=[330, 250]
    )
    return {"nodes": nodes}


def face_free_for_commercial_use() -> dict[str, Any]:
    nodes = base("ip-adapter-plus-face_sd15.safetensors", "a portrait in a garden, soft light", ("apply", 0), 1120)
    nodes["detector"] = part("IPAdapterInsightFaceLoader", 390, 0, widgets={"model_name": "auraface"}, size=[300, 82])
    nodes["reference"] = picture(0, 400, "astronaut.png", "The person")
    crop = {"image": ["reference", 0], "insightface": ["detector", 0]}
    nodes["crop"] = part("IPAdapterFaceCrop", 390, 140, crop, widgets={"crop": "aligned"}, size=[300, 420])
    links = {
        "model": ["checkpoint", 0], "ipadapter": ["adapter", 0], "image": ["crop", 0], "clip_vision": ["vision", 0],
    }  # fmt: skip
    nodes["apply"] = part("IPAdapterAdvanced", 740, 0, links, widgets={"weight": 0.8}, size=[330, 330])
    return {"nodes": nodes}


RECIPES: dict[str, dict[str, Any]] = {
    "same_person": same_person(),
    "face_free_for_commercial_use": face_free_for_commercial_use(),
}
