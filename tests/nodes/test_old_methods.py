"""The methods of the old nodes: by position and by keyword, they give what our nodes give."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import synthetic
from pack import nodes
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.loading.adapters import manage
from pack.nodes.loading.files import register_folder
from pack.nodes.sampling.attach import attached_prompts
from test_nodes_pack import standins, unets

REFERENCE = Path(__file__).parents[1] / "reference"
register_folder("ipadapter")
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


OLD_IDS = [
    id
    for file in ("node_interface.json", "legacy_interface.json")
    for id in json.loads((REFERENCE / file).read_text("utf-8"))
]
NAMES = (
    "apply_ipadapter", "apply_tiled", "load_models", "load_ipadapter_model", "load_insightface", "load_insight_face",
    "encode", "batch", "save", "load", "make_noise", "prep_image", "weights", "prompt_schedule", "combine",
    "conditioning",
)  # fmt: skip
METHOD_OF = {id: name for id in OLD_IDS for name in NAMES if hasattr(NODES[id], name)}
APPLIED = [id for id in METHOD_OF if METHOD_OF[id] in ("apply_ipadapter", "apply_tiled")]
MODEL = SimpleNamespace(get_model_object=None)  # a value that the guard takes for a model
RECORDED = {  # what reads files: the call that the node makes of them, and values for it
    "IPAdapterUnifiedLoader": ("unified.load_preset", (MODEL, "PLUS (high strength)", {})),
    "IPAdapterUnifiedLoaderCommunity": ("unified.load_preset", (MODEL, "Composition", {})),
    "IPAdapterInsightFaceLoader": ("face_loader.load_face_models", ("CPU", "antelopev2")),
    "InsightFaceLoader": ("legacy.load_face_models", ("CUDA",)),
    "IPAdapterModelLoader": ("loaders.load_adapter", ("ip-adapter_sd15.safetensors",)),
    "IPAdapterSaveEmbeds": ("embeds.save_numbered", (torch.ones(1, 4), "mine")),
    "IPAdapterLoadEmbeds": ("embeds.load_embeds", ("mine.ipadpt",)),
}


def test_every_old_node_has_a_method_and_each_is_called_here():
    assert set(METHOD_OF) == set(OLD_IDS) and len(METHOD_OF) == 44
    elsewhere = {"IPAdapterEncoder", "IPAdapterUnifiedLoaderFaceID"}
    assert {*APPLIED, *RECORDED, *(id for id, *_ in CALLS), *elsewhere} == set(METHOD_OF)


@pytest.fixture(scope="module")
def sockets() -> dict[str, Any]:
    """What stands on the sockets of an apply node, by type."""
    state_dict = synthetic.adapter("standard", seed=7, context=768, channels=synthetic.sd15_channels(32), pooled=32)
    vision = standins.tiny_clip_vision(3, 64, 32, 224)
    adapter = manage(read_checkpoint(state_dict, "tiny"))
    pipeline = {"clipvision": {"model": vision}, "ipadapter": {"model": adapter}}
    (embeds, _) = NODES["IPAdapterEncoder"]().encode(pipeline, picture())
    known = {"MODEL": unets.tiny_model("sd15", seed=1), "IPADAPTER": pipeline, "CLIP_VISION": vision}
    return known | {"IMAGE": picture(), "EMBEDS": embeds, "IPADAPTER_PARAMS": PARAMS}


def asked_for(model: Any) -> list[dict[str, Any]]:
    """Everything that the image prompts on a model say, with the keys and values of one site."""
    prompts = attached_prompts(model)
    assert prompts
    pairs = [prompt.source.pair(7, (0,) if prompt.per_frame else None) for prompt in prompts]
    return [
        vars(prompt) | {"weights": [prompt.weights.at(percent) for percent in (0.2, 0.8)]}
        | {"source": (prompt.source.images, *pair.positive, *pair.negative)}
        for prompt, pair in zip(prompts, pairs, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("node_id", APPLIED)
def test_a_method_asks_for_what_the_node_asks_by_position_and_by_keyword(node_id, sockets):
    node, method = NODES[node_id], METHOD_OF[node_id]
    values: dict[str, Any] = {}
    for item in node.GET_SCHEMA().inputs:
        if not item.optional:
            default = getattr(item, "default", None)
            first = next(iter(getattr(item, "options", None) or [None]))
            values[item.id] = sockets.get(item.io_type, first if default is None else default)
    values |= {name: value for name, value in {"end_at": 0.9, "weight": 0.6}.items() if name in values}
    expected = asked_for(node.execute(**values).args[0])
    by_position, by_keyword = getattr(node(), method)(*values.values()), getattr(node(), method)(**values)
    assert alike(asked_for(by_position[0]), expected) and alike(asked_for(by_keyword[0]), expected)


@pytest.mark.parametrize("node_id", RECORDED)
def test_a_method_that_reads_or_writes_files_makes_the_node_s_call(node_id, monkeypatch):
    target, values = RECORDED[node_id]
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def record(*told: Any, **more: Any) -> Any:
        calls.append((told, more))
        return ("model", "ipadapter") if target == "unified.load_preset" else "made"

    monkeypatch.setattr(f"pack.nodes.{target}", record)
    for listed in ("embeds.saved_embeds", "loaders.adapter_files"):
        monkeypatch.setattr(f"pack.nodes.{listed}", lambda: list(values[:1]))
    for found in ("embeds.embeds_path", "loaders.adapter_path"):
        monkeypatch.setattr(f"pack.nodes.{found}", lambda name: name)
    node, method = NODES[node_id], METHOD_OF[node_id]
    names = [item.id for item in node.GET_SCHEMA().inputs][: len(values)]
    node.execute(**dict(zip(names, values, strict=True)))
    shown = 2 if method == "load_models" else len(values)  # behind the preset the method's order is its own
    getattr(node(), method)(*values[:shown], **dict(zip(names[shown:], values[shown:], strict=True)))
    getattr(node(), method)(**dict(zip(names, values, strict=True)))
    assert len(calls) == 3 and alike(calls[1], calls[0]) and alike(calls[2], calls[0])


def test_one_method_loaded_all_presets_in_an_order_of_its_own(monkeypatch):
    """model, preset, lora_strength, provider, ipadapter."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("pack.nodes.unified.load_preset", lambda *told: calls.append(told) or ("model", "ipadapter"))
    node = NODES["IPAdapterUnifiedLoaderFaceID"]
    by_name = {"model": MODEL, "preset": "FACEID", "lora_strength": 0.4, "provider": "CUDA", "ipadapter": {"a": 1}}
    assert node().load_models(MODEL, "FACEID", 0.4, "CUDA", {"a": 1}) == ("model", "ipadapter")
    node().load_models(**by_name)
    node.execute(**by_name)
    assert calls[0] == calls[1] == calls[2]


def test_encode_gives_both_embeds_by_position_and_by_keyword(sockets):
    node, pipeline, mask = NODES["IPAdapterEncoder"], sockets["IPADAPTER"], torch.ones(1, 64, 64)
    expected = node.execute(ipadapter=pipeline, image=picture(), weight=0.5, mask=mask).args
    assert alike(node().encode(pipeline, picture(), 0.5, mask), expected) and len(expected) == 2
    assert alike(node().encode(ipadapter=pipeline, image=picture(), weight=0.5, mask=mask), expected)


def test_too_many_values_and_unknown_names_are_said():
    with pytest.raises(TypeError, match="called with too many values; its inputs: weights_1, weights_2"):
        NODES["IPAdapterCombineWeights"]().combine(1.0, 1.0, 1.0)
    with pytest.raises(TypeError, match="called with too many values"):
        NODES["IPAdapterCombineWeights"]().combine(1.0, weights_1=1.0)
    with pytest.raises(TypeError, match="IPAdapterNoise has no input strenght"):
        NODES["IPAdapterNoise"]().make_noise("fade", strenght=1.0)


@pytest.mark.parametrize("weight_type", ["original", "linear", "channel penalty"])
@pytest.mark.parametrize("node_id", ["IPAdapterAdvanced", "IPAdapter", "IPAdapterMS", "IPAdapterTiled"])
def test_the_first_weight_types_are_linear_to_later_nodes(node_id, weight_type, sockets):
    call = {"image": picture(), "weight": 0.7, "weight_type": weight_type}
    made = getattr(NODES[node_id](), METHOD_OF[node_id])(sockets["MODEL"], sockets["IPADAPTER"], **call)[0]
    for prompt in attached_prompts(made):
        assert prompt.scaling == "V only" and list(prompt.weights.at(0.5)) == [0.7] * 16
    assert attached_prompts(made)


@pytest.mark.parametrize("weight_type", ["original", "channel penalty"])
def test_the_first_weight_types_are_linear_in_regions(weight_type):
    made = NODES["IPAdapterRegionalConditioning"]().conditioning(picture(), weight_type=weight_type)
    assert made[0]["weight_type"] == ["linear"]
