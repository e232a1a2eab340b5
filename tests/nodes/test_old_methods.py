"""The methods of the old nodes: by position and by keyword, they give what our nodes give."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import synthetic
from pack import nodes
from pack.nodes.loading.files import register_adapter_folder
from pack.nodes.old_methods import METHODS
from pack.nodes.sampling.attach import attached_prompts
from test_nodes_pack import standins, unets

REFERENCE = Path(__file__).parents[1] / "reference"
register_adapter_folder()
NODES = {node.GET_SCHEMA().node_id: node for node in nodes.NODES}


def picture(seed: int = 1, count: int = 1) -> torch.Tensor:
    return torch.rand((count, 64, 64, 3), generator=torch.Generator().manual_seed(seed))


REGION = (picture(), 0.7, 2.0, "ease in", 0.1, 0.9, torch.ones(1, 8, 8), [[torch.ones(1, 2), {}]], None)
TIMELINE = ("1.0, 0.0", "linear", 4, 0, 9999, 0, 0, "full batch", picture(count=2))
STRATEGY = NODES["IPAdapterWeights"]().weights(*TIMELINE)[-1]
PARAMS = NODES["IPAdapterRegionalConditioning"].execute(*REGION).args[0]
CALLS: list[tuple[str, str, tuple[Any, ...]]] = [
    ("IPAdapterRegionalConditioning", "conditioning", REGION),
    ("IPAdapterCombineParams", "combine", (PARAMS, PARAMS)),
    ("IPAdapterCombineEmbeds", "batch", (torch.ones(1, 4), "average", torch.zeros(1, 4))),
    ("IPAdapterBatchEmbeds", "batch", (torch.ones(1, 4), torch.zeros(1, 4))),
    ("IPAdapterNoise", "make_noise", ("fade", 0.5, 0, picture())),
    ("PrepImageForClipVision", "prep_image", (picture(), "LANCZOS", "top", 0.5)),
    ("PrepImageForInsightFace", "prep_image", (picture(), "center", 0.0, True)),
    ("IPAdapterWeights", "weights", TIMELINE),
    ("IPAdapterWeightsFromStrategy", "weights", (STRATEGY, picture(count=2))),
    ("IPAdapterPromptScheduleFromWeightsStrategy", "prompt_schedule", (STRATEGY, "a cat\na dog")),
    ("IPAdapterCombineWeights", "combine", ([0.5, 1.0], 0.25)),
]


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.equal(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(alike(*pair) for pair in zip(one, other, strict=True))
    return one == other


@pytest.mark.parametrize(("node_id", "method", "values"), CALLS)
def test_a_method_gives_what_the_node_gives_by_position_and_by_keyword(node_id, method, values):
    node = NODES[node_id]
    names = [item.id for item in node.GET_SCHEMA().inputs][: len(values)]
    expected = node.execute(**dict(zip(names, values, strict=True))).args
    by_position = getattr(node(), method)(*values)
    half = len(values) // 2
    by_keyword = getattr(node(), method)(*values[:half], **dict(zip(names[half:], values[half:], strict=True)))
    assert isinstance(by_position, tuple) and len(by_position) == len(node.RETURN_TYPES)
    assert alike(by_position, expected) and alike(by_keyword, expected)


def test_every_old_node_has_a_method():
    files = ("node_interface.json", "legacy_interface.json")
    old = {id for file in files for id in json.loads((REFERENCE / file).read_text("utf-8"))}
    assert len(old) == 44
    assert [id for id in old if not any(issubclass(NODES[id], bases) for _, _, bases in METHODS)] == []


def test_too_many_values_and_unknown_names_are_said():
    with pytest.raises(TypeError, match="called with too many values; its inputs: weights_1, weights_2"):
        NODES["IPAdapterCombineWeights"]().combine(1.0, 1.0, 1.0)
    with pytest.raises(TypeError, match="called with too many values"):
        NODES["IPAdapterCombineWeights"]().combine(1.0, weights_1=1.0)
    with pytest.raises(TypeError, match="IPAdapterNoise has no input strenght"):
        NODES["IPAdapterNoise"]().make_noise("fade", strenght=1.0)


@pytest.mark.parametrize("weight_type", ["original", "linear", "channel penalty"])
@pytest.mark.parametrize("node_id", ["IPAdapterAdvanced", "IPAdapter", "IPAdapterMS"])
def test_the_first_weight_types_are_linear_to_later_nodes(node_id, weight_type):
    state_dict = synthetic.adapter("standard", seed=7, context=768, channels=synthetic.sd15_channels(32), pooled=32)
    vision = standins.tiny_clip_vision(3, 64, 32, 224)
    pipeline = {"clipvision": {"model": vision}, "ipadapter": {"model": state_dict}}
    call = {"image": picture(), "weight": 0.7, "weight_type": weight_type}
    made = NODES[node_id]().apply_ipadapter(unets.tiny_model("sd15", seed=1), pipeline, **call)[0]
    (prompt,) = attached_prompts(made)
    assert prompt.scaling == "V only" and list(prompt.weights.at(0.5)) == [0.7] * 16
