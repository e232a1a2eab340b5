"""Forms of nodes that were removed, as real workflows have them: opened in the page they run, or say what to put in
their place.
"""

import json
from typing import Any

import pytest

from harness.browser import ComfyPage
from harness.client import PromptError
from harness.graph import Graph
from harness.sampling import sample
from harness.saved import SOURCES, saved
from harness.server import Server

FIRST_ENCODER = (
    "IPAdapterEncoder",
    "clip_vision:CLIP_VISION image_1:IMAGE image_2:IMAGE",
    [True, 0.3, 1.0, 0.5, 1.0, 1.0],  # ipadapter_plus, noise, weight_1 to weight_4
)
SEPTEMBER = ("IPAdapterApply", "ipadapter:IPADAPTER clip_vision_output:CLIP_VISION_OUTPUT model:MODEL", [0.8])
DECEMBER = ("IPAdapterApply", "ipadapter:IPADAPTER clip_vision:INSIGHTFACE image:IMAGE model:MODEL", [0.8, 0.0])
EARLIER_PACK = (
    "IPAdapter",
    "model:MODEL image:IMAGE clip_vision:CLIP_VISION mask:MASK",
    [0.8, "ip-adapter_sd15.bin", "fp16"],
)


def opened(page: ComfyPage, form: tuple[str, str, list[Any]], sources: dict[str, Any] = SOURCES) -> Graph:
    page.load(saved(*form, sources))
    g = Graph()
    g.prompt |= json.loads(json.dumps(page.prompt()))
    return g


def refused(server: Server, g: Graph, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        server.submit(g.prompt)


def test_the_encoder_of_october_2023_says_what_to_put_in_its_place(page: ComfyPage, server: Server):
    g = opened(page, FIRST_ENCODER)
    g.add("PreviewAny", source=["1", 0])
    refused(server, g, "encoder of October 2023 to March 2024.* a new IPAdapter Encoder for each picture")
    inputs = g.prompt["1"]["inputs"]
    loader = g.add("IPAdapterModelLoader", ipadapter_file="ip-adapter_sd15.safetensors")
    inputs |= {"ipadapter": loader[0], "image": inputs["image_1"]}
    refused(server, g, "encoder of October 2023 to March 2024")


def test_its_first_value_is_no_weight_of_zero_when_only_the_wires_are_new(page: ComfyPage, server: Server):
    form = ("IPAdapterEncoder", "ipadapter:IPADAPTER image:IMAGE clip_vision:CLIP_VISION", FIRST_ENCODER[2])
    g = opened(page, form)
    assert isinstance(g.prompt["1"]["inputs"]["weight"], bool)
    g.add("PreviewAny", source=["1", 0])
    refused(server, g, "its weight is the square of the old one")


@pytest.mark.parametrize(("weight", "message"), [("much", "weight is 'much', which is not a number"), (4, "-1 and 3")])
def test_a_weight_of_today_is_checked_as_ever(server: Server, weight: Any, message: str):
    g = Graph()
    loader = g.add("IPAdapterModelLoader", ipadapter_file="ip-adapter_sd15.safetensors")
    encoder = g.add("IPAdapterEncoder", ipadapter=loader[0], image=g.add("TestImage", seed=1)[0], weight=weight)
    g.add("PreviewAny", source=encoder[0])
    refused(server, g, message)


def test_clip_vision_output_of_september_2023_says_what_to_connect(page: ComfyPage, server: Server):
    """The page shows its encoder as missing, and replaces it by the node that we name."""
    replaced = {"CLIP_VISION_OUTPUT": ("CLIPVisionEncode", 0, ["center"])}
    g = opened(page, SEPTEMBER, SOURCES | replaced)
    g.save("latent", sample(g, ["1", 0])[0])
    refused(server, g, "clip_vision_output. Connect Load CLIP Vision to clip_vision and the picture to image")


def test_clip_vision_encode_of_september_2023_is_comfyui_s_own(server: Server):
    known = server.call("/node_replacements")["IPAdapterCLIPVisionEncode"]
    assert [way["new_node_id"] for way in known] == ["CLIPVisionEncode"]
    g = Graph()
    sockets = {"clip_vision": g.add("TestClipVision", seed=3)[0], "image": g.add("TestImage", seed=1)[0]}
    text = g.add("PreviewAny", source=g.add("IPAdapterCLIPVisionEncode", **sockets)[0])
    assert "comfy.clip_vision.Output" in server.run(g).outputs[text.id]["text"][0]


def test_a_face_loader_on_clip_vision_stays_connected(page: ComfyPage):
    """That it runs is in faces/test_server.py."""
    g = opened(page, DECEMBER)
    source = g.prompt["1"]["inputs"]["clip_vision"][0]
    assert g.prompt[source]["class_type"] == "IPAdapterInsightFaceLoader" and g.prompt["1"]["inputs"]["weight"] == 0.8


def test_a_link_of_another_type_is_refused_as_ever(server: Server):
    g = Graph()
    loader = g.add("IPAdapterModelLoader", ipadapter_file="ip-adapter_sd15.safetensors")
    image, model = g.add("TestImage", seed=1), g.add("TestModel", family="sd15", seed=1)
    widgets = {"weight": 1.0, "noise": 0.0, "weight_type": "original", "start_at": 0.0, "end_at": 1.0}
    links = {"ipadapter": loader[0], "clip_vision": image[0], "image": image[0], "model": model[0]}
    g.save("latent", sample(g, g.add("IPAdapterApply", **links, **widgets, unfold_batch=False)[0])[0])
    refused(server, g, "clip_vision takes CLIP_VISION, and IMAGE is connected")


def test_the_node_of_an_earlier_pack_is_recognised_and_named(page: ComfyPage, server: Server):
    g = opened(page, EARLIER_PACK)
    g.save("latent", sample(g, ["1", 0])[0])
    refused(server, g, "laksjdjf's IPAdapter-ComfyUI.*Use IPAdapter Model Loader with that file and IPAdapter Advanced")


@pytest.mark.parametrize(
    ("first", "today"), [("lanczos", "LANCZOS"), ("bicubic", "BICUBIC"), ("area", "BOX"), ("nearest-exact", "NEAREST")]
)
@pytest.mark.parametrize("add_weight", [False, True])
def test_the_first_filters_are_pillow_s_and_their_flag_does_no_harm(
    page: ComfyPage, server: Server, first: str, today: str, add_weight: bool
):
    g = opened(page, ("PrepImageForClipVision", "image:IMAGE", [first, "center", add_weight]))
    assert g.prompt["1"]["inputs"]["interpolation"] == first
    g.save("first", ["1", 0])
    widgets = {"crop_position": "center", "sharpening": 0.0}
    g.save("today", g.add("PrepImageForClipVision", image=["2", 0], interpolation=today, **widgets)[0])
    result = server.run(g)
    assert result.tensor("first").equal(result.tensor("today"))


def test_a_filter_that_never_was_is_refused_with_those_there_are(server: Server):
    g = Graph()
    widgets = {"interpolation": "sideways", "crop_position": "center", "sharpening": 0.0}
    g.save("image", g.add("PrepImageForClipVision", image=g.add("TestImage", seed=1)[0], **widgets)[0])
    refused(server, g, "'sideways' is not a filter; choose one of: LANCZOS, BICUBIC")
