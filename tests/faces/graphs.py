"""Graphs with a face in them, and the small adapters that they name."""

from functools import partial
from typing import Any

from faces import assets
from harness import sampling
from harness.assets import SD15, SHALLOW
from harness.graph import Graph

VARIANTS = {  # file -> variant, family of TestModel, sizes, side and kind of the crop
    "faceid_sd15.bin": ("FaceID", "sd15", SD15, 224, "aligned"),
    "faceid-plus_sd15.bin": ("FaceID Plus", "sd15", SD15, 224, "aligned"),
    "faceid-plusv2_sd15.bin": ("FaceID Plus V2", "sd15", SD15, 224, "aligned"),
    "faceid-portrait-v11_sd15.bin": ("FaceID portrait", "sd15", SD15, 224, "aligned"),
    "faceid_sdxl.safetensors": ("FaceID", "sdxl shallow", SHALLOW, 256, "aligned"),
    "faceid-plusv2_sdxl.bin": ("FaceID Plus V2", "sdxl shallow", SHALLOW, 256, "aligned"),
    "faceid-portrait_sdxl.bin": ("FaceID portrait", "sdxl shallow", SHALLOW, 256, "aligned"),
    "faceid-portrait_sdxl_unnorm.bin": ("FaceID portrait unnorm", "sdxl shallow", SHALLOW, 256, "aligned"),
    "ipa-faceid-plus.bin": ("Kolors FaceID Plus", "kolors", SHALLOW, 336, "box"),
}
PLUS = [file for file, (variant, *_) in VARIANTS.items() if "Plus" in variant]
sample = partial(sampling.sample, steps=1)  # faces are the same at every step
PHOTOS = ("astronaut", "hopper", "six people", "cat", "coffee")


def picture(g, name):
    return g.add("LoadImage", image=f"{name}{assets.PHOTOS[name]().suffix}")[0]


def face_node(g, model, file, photo: Any = "astronaut", node="IPAdapterFaceID", **more):
    """A FaceID node with a loader of its own; only FaceID Plus gets a vision encoder."""
    inputs = {
        "weight": 1.0, "weight_faceidv2": 1.0, "weight_type": "linear", "combine_embeds": "concat", "start_at": 0.0,
        "end_at": 1.0, "embeds_scaling": "V only",
        "model": model, "image": picture(g, photo) if isinstance(photo, str) else photo,
        "ipadapter": g.add("IPAdapterModelLoader", ipadapter_file=file)[0],
        "insightface": g.add("IPAdapterInsightFaceLoader", provider="CPU", model_name=assets.PACK)[0],
    }  # fmt: skip
    if file in PLUS:
        inputs["clip_vision"] = g.add("TestClipVision", seed=3)[0]
    if file == "ipa-faceid-plus.bin":
        node, inputs["weight_kolors"] = "IPAdapterFaceIDKolors", 1.0
    return g.add(node, **inputs | more)


def run(server, file="faceid_sd15.bin", batch=1, **more):
    """The latent, and the faces that were used."""
    g = Graph()
    family = VARIANTS[file][1]
    node = face_node(g, g.add("TestModel", family=family, seed=1)[0], file, **more)
    g.save("latent", sample(g, node[0], family, batch=batch)[0])
    g.save("faces", node[1])
    result = server.run(g)
    return result.tensor("latent"), result.tensor("faces")
