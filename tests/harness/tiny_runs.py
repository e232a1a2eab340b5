"""Run a user's graph with tiny stand-ins where it loads models that nobody has on a test machine."""

import copy
from typing import Any

from .graph import Graph

TINY_RUN = {
    "KSampler": {"steps": 3},
    "IPAdapterLayerSweep": {"steps": 1, "layers": "4", "factors": "1"},
    "IPAdapterStudy": {"steps": 1, "weights": "0.5, 0.75, 1"},
    "EmptySD3LatentImage": {"width": 128, "height": 64},
    "EmptyLatentImage": {"width": 128, "height": 64, "batch_size": 1},
}


def with_stand_ins(prompt: dict[str, Any]) -> dict[str, Any]:
    """The same API prompt with its checkpoint and CLIP vision loaders replaced, few steps and one small canvas."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        if node["class_type"] == "CheckpointLoaderSimple":
            node["class_type"] = "TestCheckpoint"
        if node["class_type"] == "CLIPVisionLoader":
            node |= {"class_type": "TestClipVision", "inputs": {"seed": 3}}
        if node["class_type"] == "IPAdapterOpenCLIPLoader":
            node |= {"class_type": "TestClipVision", "inputs": {"seed": 4, "text": True}}
        node["inputs"] |= {k: v for k, v in TINY_RUN.get(node["class_type"], {}).items() if k in node["inputs"]}
    return prompt


def with_latents_saved(prompt: dict[str, Any], name: str = "latent") -> Graph:
    """The prompt as a Graph that also keeps what its sampler made."""
    graph = Graph()
    graph.prompt = copy.deepcopy(prompt)
    sampler = next(id for id, node in prompt.items() if node["class_type"] == "KSampler")
    graph.prompt["saved"] = {
        "class_type": "TestSaveTensor",
        "inputs": {"value": [sampler, 0], "name": name},
        "_meta": {"title": "TestSaveTensor"},
    }
    return graph
