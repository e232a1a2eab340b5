"""Workflows saved with earlier revisions of the nodes, or with other packs' nodes of the same ids, open in ComfyUI's
page and run, new widgets at their defaults.

A saved workflow holds widget values by position; a node that got a widget later has a longer list today.
"""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from harness.browser import ComfyPage
from harness.graph import Graph
from harness.sampling import adapter, sample
from harness.saved import SOURCES, saved
from harness.server import Server

RANGE = {"start_at": 0.1, "end_at": 0.9}

# Node, its sockets in the order of then, its widget values then, the inputs that have to come out of them.
REVISIONS: dict[str, tuple[str, str, list[Any], dict[str, Any]]] = {
    "2024-02 Apply IPAdapter": (
        "IPAdapterApply",
        "ipadapter:IPADAPTER clip_vision:CLIP_VISION image:IMAGE model:MODEL attn_mask:MASK",
        [0.7, 0.33, "channel penalty", 0.1, 0.9, True],
        {"weight": 0.7, "noise": 0.33, "weight_type": "channel penalty", **RANGE, "unfold_batch": True},
    ),
    "2023-10 Apply IPAdapter before ranges": (
        "IPAdapterApply",
        "ipadapter:IPADAPTER clip_vision:CLIP_VISION image:IMAGE model:MODEL attn_mask:MASK",
        [0.7, 0.33],
        {"weight": 0.7, "noise": 0.33, "weight_type": "original", "start_at": 0.0, "end_at": 1.0},
    ),
    "2024-02 Apply IPAdapter FaceID": (
        "IPAdapterApplyFaceID",
        "ipadapter:IPADAPTER clip_vision:CLIP_VISION insightface:INSIGHTFACE image:IMAGE model:MODEL attn_mask:MASK",
        [0.7, 0.0, "linear", 0.1, 0.9, True, 1.5, False],
        {"weight": 0.7, "weight_type": "linear", **RANGE, "faceid_v2": True, "weight_v2": 1.5, "unfold_batch": False},
    ),
    "2024-02 masked tiles": (
        "IPAdapterTilesMasked",
        "ipadapter:IPADAPTER clip_vision:CLIP_VISION image:IMAGE model:MODEL",
        [0.7, 0.0, "original", 0.1, 0.9, 2, 0.55],
        {"weight": 0.7, "weight_type": "original", **RANGE, "short_side_tiles": 2, "tile_weight": 0.55},
    ),
    "2024-03-23 IPAdapter": (
        "IPAdapter",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE attn_mask:MASK",
        [0.8, 0.1, 0.9],
        {"weight": 0.8, **RANGE, "weight_type": "standard"},
    ),
    "2024-03-29 IPAdapter": (
        "IPAdapter",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE attn_mask:MASK",
        [0.8, 0.1, 0.9, "style transfer (SDXL only)"],
        {"weight": 0.8, **RANGE, "weight_type": "style transfer (SDXL only)"},
    ),
    "2024-03-23 IPAdapter Advanced": (
        "IPAdapterAdvanced",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE image_negative:IMAGE attn_mask:MASK clip_vision:CLIP_VISION",
        [0.8, "ease in", "average", 0.1, 0.9],
        {"weight": 0.8, "weight_type": "ease in", "combine_embeds": "average", **RANGE, "embeds_scaling": "V only"},
    ),
    "2024-03-27 IPAdapter Advanced": (
        "IPAdapterAdvanced",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE image_negative:IMAGE attn_mask:MASK clip_vision:CLIP_VISION",
        [0.8, "style transfer (SDXL)", "concat", 0.1, 0.9, "K+V"],
        {"weight_type": "style transfer (SDXL)", "combine_embeds": "concat", **RANGE, "embeds_scaling": "K+V"},
    ),
    "2024-03-23 IPAdapter Batch": (
        "IPAdapterBatch",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE image_negative:IMAGE attn_mask:MASK clip_vision:CLIP_VISION",
        [0.8, "ease out", 0.1, 0.9],
        {"weight_type": "ease out", **RANGE, "embeds_scaling": "V only", "encode_batch_size": 0},
    ),
    "2024-03-25 IPAdapter Batch": (
        "IPAdapterBatch",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE image_negative:IMAGE attn_mask:MASK clip_vision:CLIP_VISION",
        [0.8, "ease out", 0.1, 0.9, "K+V"],
        {"weight_type": "ease out", **RANGE, "embeds_scaling": "K+V", "encode_batch_size": 0},
    ),
    "2024-03-23 IPAdapter FaceID": (
        "IPAdapterFaceID",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE image_negative:IMAGE attn_mask:MASK clip_vision:CLIP_VISION "
        "insightface:INSIGHTFACE",
        [0.8, 1.2, "linear", "concat", 0.1, 0.9],
        {"weight": 0.8, "weight_faceidv2": 1.2, "weight_type": "linear", **RANGE, "embeds_scaling": "V only"},
    ),
    "2024-03-23 IPAdapter Tiled": (
        "IPAdapterTiled",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE image_negative:IMAGE attn_mask:MASK clip_vision:CLIP_VISION",
        [0.8, "linear", "concat", 0.1, 0.9, 0.25],
        {"weight": 0.8, "combine_embeds": "concat", **RANGE, "sharpening": 0.25, "embeds_scaling": "V only"},
    ),
    "2024-03-25 IPAdapter Tiled Batch": (
        "IPAdapterTiledBatch",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE image_negative:IMAGE attn_mask:MASK clip_vision:CLIP_VISION",
        [0.8, "linear", 0.1, 0.9, 0.25, "K+V"],
        {"weight": 0.8, **RANGE, "sharpening": 0.25, "embeds_scaling": "K+V", "encode_batch_size": 0},
    ),
    "2024-06-22 IPAdapter Advanced": (
        "IPAdapterAdvanced",
        "model:MODEL ipadapter:IPADAPTER image:IMAGE image_negative:IMAGE attn_mask:MASK clip_vision:CLIP_VISION",
        [0.8, "style transfer and composition", "concat", 0.1, 0.9, "V only"],
        {"weight_type": "style transfer and composition", "embeds_scaling": "V only"},
    ),
    "2024-03-23 InsightFace loader": (
        "IPAdapterInsightFaceLoader",
        "",
        ["CPU"],
        {"provider": "CPU", "model_name": "buffalo_l"},
    ),
    "2024-04-27 weights": (
        "IPAdapterWeights",
        "image:IMAGE",
        ["1.0, 0.5", "linear", 16, 2, 14, 1, 2, "shift batches"],
        {"weights": "1.0, 0.5", "frames": 16, "start_frame": 2, "end_frame": 14, "add_starting_frames": 1}
        | {"add_ending_frames": 2, "method": "shift batches"},
    ),
    "InstantID": (
        "ApplyInstantID",
        "instantid:INSTANTID insightface:FACEANALYSIS control_net:CONTROL_NET image:IMAGE model:MODEL "
        "positive:CONDITIONING negative:CONDITIONING image_kps:IMAGE mask:MASK",
        [0.7, 0.1, 0.9],
        {"weight": 0.7, **RANGE, "weight_type": "linear", "face": "largest", "mask_limits": "text and face"},
    ),
    "InstantID advanced": (
        "ApplyInstantIDAdvanced",
        "instantid:INSTANTID insightface:FACEANALYSIS control_net:CONTROL_NET image:IMAGE model:MODEL "
        "positive:CONDITIONING negative:CONDITIONING image_kps:IMAGE mask:MASK",
        [0.7, 0.6, 0.1, 0.9, 0.3, "norm average"],
        {"ip_weight": 0.7, "cn_strength": 0.6, **RANGE, "noise": 0.3, "combine_embeds": "norm average"}
        | {"layer_weights": "", "face_index": 0, "least_score": 0, "place": "as in the photo"},
    ),
    "InstantID in the model": (
        "InstantIDAttentionPatch",
        "instantid:INSTANTID insightface:FACEANALYSIS image:IMAGE model:MODEL mask:MASK",
        [0.7, 0.1, 0.9, 0.3],
        {"weight": 0.7, **RANGE, "noise": 0.3, "weight_type": "linear"},
    ),
    "InstantID in its ControlNet": (
        "ApplyInstantIDControlNet",
        "face_embeds:FACE_EMBEDS control_net:CONTROL_NET image_kps:IMAGE positive:CONDITIONING negative:CONDITIONING "
        "mask:MASK",
        [0.7, 0.1, 0.9],
        {"strength": 0.7, **RANGE, "mask_limits": "text and face"},
    ),
    "PuLID": (
        "ApplyPulid",
        "model:MODEL pulid:PULID eva_clip:EVA_CLIP face_analysis:FACEANALYSIS image:IMAGE attn_mask:MASK",
        ["style", 0.7, 0.1, 0.9],
        {"method": "style", "weight": 0.7, **RANGE, "combine_embeds": "mean", "layer_weights": ""},
    ),
    "PuLID advanced": (
        "ApplyPulidAdvanced",
        "model:MODEL pulid:PULID eva_clip:EVA_CLIP face_analysis:FACEANALYSIS image:IMAGE attn_mask:MASK",
        [0.7, "ortho", 16, 0.2, 0.1, 0.9],
        {"weight": 0.7, "projection": "ortho", "fidelity": 16, "noise": 0.2, **RANGE, "combine_embeds": "mean"},
    ),
    "PuLID for Flux": (
        "ApplyPulidFlux",
        "model:MODEL pulid_flux:PULIDFLUX eva_clip:EVA_CLIP face_analysis:FACEANALYSIS image:IMAGE attn_mask:MASK "
        "options:OPTIONS",
        [0.7, 0.1, 0.9],
        {"weight": 0.7, **RANGE, "fusion": "mean", "use_gray": True, "layer_weights": "", "face": "largest"},
    ),
    "PuLID for Flux with fusion": (
        "ApplyPulidFlux",
        "model:MODEL pulid_flux:PULIDFLUX eva_clip:EVA_CLIP face_analysis:FACEANALYSIS image:IMAGE attn_mask:MASK "
        "prior_image:IMAGE",
        [0.7, 0.1, 0.9, "max_token", 2, 0.5, 500, False],
        {"weight": 0.7, **RANGE, "fusion": "max_token", "fusion_weight_max": 2, "fusion_weight_min": 0.5}
        | {"train_step": 500, "use_gray": False, "layer_weights": "", "face_index": 0},
    ),
}  # fmt: skip
RUNNABLE = [
    name for name, (node, sockets, _, _) in REVISIONS.items() if "MODEL" in sockets and "insightface" not in sockets
    and node != "IPAdapter" and "Pulid" not in node  # that one needs a unified loader; identity/ runs these
]  # fmt: skip


@pytest.fixture(scope="module")
def opened(tab: ComfyPage) -> Callable[[str], dict[str, Any]]:
    """`opened(revision)` is the API prompt that the page makes of a workflow of that time; it is opened once."""

    @cache
    def prompt(revision: str) -> dict[str, Any]:
        node, sockets, widgets, _ = REVISIONS[revision]
        tab.load(saved(node, sockets, widgets))
        assert tab.missing_nodes() == [] and tab.errors == []
        return tab.prompt()

    return prompt


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_old_widget_list_lands_on_its_inputs_and_new_ones_get_their_defaults(opened, server, revision):
    node, sockets, _, expected = REVISIONS[revision]
    prompt = opened(revision)
    inputs = prompt["1"]["inputs"]
    assert {name: inputs[name] for name in expected} == expected
    for slot, socket in enumerate(sockets.split()):
        name, kind = socket.split(":")
        assert inputs[name] == [str(slot + 2), SOURCES[kind][1]], name
    known = server.call(f"/object_info/{node}")[node]["input"]["required"]
    assert set(known) <= set(inputs)


@pytest.mark.parametrize("revision", RUNNABLE)
def test_an_old_workflow_runs(opened, server: Server, revision: str):
    g = Graph()
    g.prompt |= copy.deepcopy(opened(revision))
    g.save("latent", sample(g, ["1", 0])[0])
    latent = server.run(g).tensor("latent")
    assert latent.shape == (1, 4, 8, 8) and latent.isfinite().all()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("style transfer (SDXL)", "style transfer"),
        ("composition (SDXL)", "composition"),
        ("style transfer and composition", "style and composition"),
    ],
)
def test_a_renamed_weight_type_gives_the_bits_of_its_new_name(server: Server, old: str, new: str):
    g = Graph()
    model, vision = g.add("TestModel", family="sd15", seed=1), g.add("TestClipVision", seed=3)
    image = g.add("TestImage", seed=1)
    for name, weight_type in (("old", old), ("new", new), ("linear", "linear")):
        applied = g.add(
            "IPAdapterAdvanced", model=model[0], ipadapter=adapter(g)[0], image=image[0], clip_vision=vision[0],
            weight=0.8, weight_type=weight_type, combine_embeds="concat", start_at=0.0, end_at=1.0,
            embeds_scaling="V only",
        )  # fmt: skip
        g.save(f"{name} of {new}", sample(g, applied[0])[0])  # ComfyUI 0.16 shows nothing of a node that did not run
    result = server.run(g)
    before, now, linear = (result.tensor(f"{name} of {new}") for name in ("old", "new", "linear"))
    assert torch.equal(before, now) and not torch.equal(before, linear)
