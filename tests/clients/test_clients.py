"""What other programs send runs, and its image prompts act."""

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from safetensors.torch import save_file

import synthetic
from faces import assets
from harness.assets import SHALLOW
from harness.client import Result
from harness.server import Server
from test_nodes_pack.standins import tiny_clip_vision

FOLDER = Path(__file__).parent
BODIES = sorted(file.stem for file in FOLDER.glob("*.json"))
WEIGHTED = ("IPAdapterEmbeds", "IPAdapterFaceID", "IPAdapter", "IPAdapterAdvanced")
FACE: dict[str, Any] = {"face_hidden": 16, "rank": 4}
FACE_FILE = "ip-adapter-faceid-plusv2_sdxl.bin"
SHALLOW_FILES = {"ip-adapter_sdxl_vit-h.safetensors": "ip-adapter_sdxl_shallow.safetensors"}  # SDXL has 70 layers
SAVERS = ("ETN_SaveImageCache", "SwarmSaveImageWS", "SaveImage")
SMALL = {"steps": 2, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def models(server: Server) -> Server:
    """The server with the files that the bodies name, small, for few layers; the LoRA changes nothing."""
    folder = server.base / "models"
    face = synthetic.adapter("FaceID Plus V2", seed=5, dtype=torch.float16, **SHALLOW | FACE)
    synthetic.save(face, folder / "ipadapter" / FACE_FILE)
    for name in (FACE_FILE.replace(".bin", "_lora.safetensors"), "ip-adapter-faceid_sd15_lora.safetensors"):
        (folder / "loras").mkdir(exist_ok=True)
        save_file({}, folder / "loras" / name)
    encoder = tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224)
    save_file(encoder.get_sd(), folder / "clip_vision" / "small.safetensors")
    assets.write_face_packs(folder / "insightface" / "models", ("buffalo_l",))
    return server


def stand_in(node: dict[str, Any]) -> None:
    """Change a node that is not ours into one that the test server has, and an SDXL into one of few layers."""
    kind, inputs = node["class_type"], node["inputs"]
    if kind == "CheckpointLoaderSimple":
        shallow = " shallow" if "XL" in inputs["ckpt_name"] else ""
        node |= {"class_type": "TestCheckpoint", "inputs": {"ckpt_name": inputs["ckpt_name"] + shallow}}
    elif kind == "IPAdapterModelLoader":
        node["inputs"] = {"ipadapter_file": SHALLOW_FILES.get(inputs["ipadapter_file"], inputs["ipadapter_file"])}
    elif kind == "CLIPVisionLoader":
        node |= {"class_type": "TestClipVision", "inputs": {"seed": 3}}
    elif kind == "ETN_LoadImageCache":
        node |= {"class_type": "TestSentPicture", "inputs": {"name": inputs["id"]}}
    elif kind == "SwarmLoadImageB64":
        node |= {"class_type": "TestSentPicture", "inputs": {"name": "astronaut"}}
    elif kind == "SwarmKSampler":
        kept = ("model", "positive", "negative", "latent_image", "steps", "cfg", "sampler_name", "scheduler")
        inputs = {name: inputs[name] for name in kept} | {"seed": inputs["noise_seed"], "denoise": 1.0}
        node |= {"class_type": "KSampler", "inputs": inputs}
    elif kind in SAVERS:
        node |= {"class_type": "TestSaveTensor", "inputs": {"value": inputs["images"], "name": "picture"}}
    node["inputs"] = node["inputs"] | {name: size for name, size in SMALL.items() if name in node["inputs"]}


def posted(server: Server, body: dict[str, Any]) -> torch.Tensor:
    """The picture that a body gives; each is another run, so that nothing comes from ComfyUI's cache."""
    body = copy.deepcopy(body)
    for node in body["prompt"].values():
        stand_in(node)
    answer = server.call("/prompt", body | {"prompt_id": str(uuid4())})
    assert answer["node_errors"] == {}
    entry = server.wait(answer["prompt_id"], timeout=300)
    errors = [data["exception_message"] for kind, data in entry["status"]["messages"] if kind == "execution_error"]
    assert errors == []
    return Result(entry, server.output, server.temp).tensor("picture")


@pytest.fixture(scope="module")
def as_sent(models: Server) -> Callable[[str], torch.Tensor]:
    """The picture of a body, by its name."""
    return cache(lambda name: posted(models, read(name)))


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", BODIES)
def test_what_a_program_sends_runs_and_every_image_prompt_of_it_acts(
    models: Server, as_sent: Callable[[str], torch.Tensor], name: str
):
    body, picture = read(name), as_sent(name)
    assert picture.isfinite().all()
    weighted = [id for id, node in body["prompt"].items() if node["class_type"] in WEIGHTED]
    assert weighted
    for id in weighted:
        without = copy.deepcopy(body)
        without["prompt"][id]["inputs"]["weight"] = 0.0
        assert not posted(models, without).equal(picture), f"node {id} does nothing"


def test_krita_s_regions_act_where_their_masks_are(models: Server, as_sent: Callable[[str], torch.Tensor]):
    swapped = read("krita_sdxl_regions")
    pictures = {id: node for id, node in swapped["prompt"].items() if node["inputs"].get("id", "").endswith("half")}
    for node in pictures.values():
        node["inputs"]["id"] = "left half" if node["inputs"]["id"] == "right half" else "right half"
    assert len(pictures) == 2
    assert not posted(models, swapped).equal(as_sent("krita_sdxl_regions"))


def test_bodies_hold_nothing_that_our_nodes_do_not_know(models: Server):
    known = models.call("/object_info")
    ours = {id: node for id, node in known.items() if "IPAdapter-Atelier" in node["python_module"]}
    seen = set()
    for name in BODIES:
        for node in read(name)["prompt"].values():
            if node["class_type"] in ours:
                sections = ours[node["class_type"]]["input"]
                assert set(node["inputs"]) <= {key for section in sections.values() for key in section}
                seen.add(node["class_type"])
    assert {*WEIGHTED, "IPAdapterEncoder", "IPAdapterCombineEmbeds", "IPAdapterUnifiedLoaderFaceID"} <= seen
