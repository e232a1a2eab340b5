"""Nodes check what comes by a link themselves, since ComfyUI only checks what is typed."""

import math
from collections.abc import Iterator
from inspect import Parameter, signature
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

from comfy_api.latest import io

from harness.client import PromptError
from harness.graph import Graph
from pack.ipadapter.errors import AdapterError
from pack.nodes import NODES
from pack.nodes.guard import KINDS, checked
from pack.nodes.inputs import AttentionType, Choice, EmbedsType, ScheduleType
from pack.nodes.loading.adapters import open_pipeline
from pack.nodes.loading.files import register_folder
from pack.nodes.old.appended import AppendedChoice, AppendedNumber, AppendedWhole
from pack.nodes.old.forms import UncheckedFloat
from pack.nodes.old.names import RENAMED

register_folder("ipadapter")
BY_ID = {node.define_schema().node_id: node for node in NODES}
FLOATS = torch.full((1, 4, 4, 3), math.nan)
BYTES = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
NOT_NUMBERS = (math.nan, -math.inf, 1e38, 10**400, "one", [1.0, math.nan], torch.ones(2, 2), np.ones((2, 2)))
REFUSED: dict[type[io.Input], tuple[Any, ...]] = {  # kind -> values that no input of this kind can have
    Choice: ("../x", "no such choice" * 100_000, 7, ["linear"]),
    io.Float.Input: NOT_NUMBERS,
    UncheckedFloat: NOT_NUMBERS,
    io.Int.Input: (math.nan, math.inf, 10**400, -1, 0.5, "1"),
    io.String.Input: (7, ["a"]),
    io.Image.Input: (BYTES, FLOATS, torch.zeros(0, 4, 4, 3), torch.zeros(4, 4, 3), torch.zeros(1, 4, 4, 2), "a.png"),
    io.Mask.Input: (
        BYTES[..., 0],
        torch.full((1, 4, 4), 1e38),
        FLOATS[0, ..., 0],
        torch.zeros(0, 4, 4),
        torch.ones(1, 3, 4, 4),
        [1],
    ),
    io.Model.Input: ("m", {}, torch.nn.Identity()),
    io.Conditioning.Input: ("text", {}, [FLOATS], [[FLOATS]], [FLOATS, {}]),
    ScheduleType.Input: ("3:1", {"layers": "linear"}, [0.5]),
    EmbedsType.Input: (torch.full((1, 8), 1e38), FLOATS[0, 0], torch.ones(1, 8, dtype=torch.int8), "x"),
    io.Latent.Input: ("latent", {}, {"samples": None}, FLOATS),
    io.Sigmas.Input: ("sigmas", [1.0, 0.0], torch.tensor(1.0), torch.ones(1, 2), FLOATS[0, 0, 0]),
    io.Vae.Input: ("vae", {}, torch.nn.Identity()),
    AttentionType.Input: ("attention", {}, torch.nn.Identity()),
}


def every_input() -> Iterator[tuple[type[io.ComfyNode], io.Schema, io.Input]]:
    for node in NODES:
        schema = node.define_schema()
        for item in schema.inputs:
            yield node, schema, item


def name(schema: io.Schema, item: io.Input) -> str:
    return f"{schema.node_id}.{item.id}"


def test_every_input_of_every_node_is_of_one_kind_that_the_guard_reads():
    assert [name(schema, item) for _, schema, item in every_input() if type(item) not in KINDS] == []
    used = {type(item) for _, _, item in every_input()}
    assert [kind for kind in KINDS if kind not in used] == [], "kinds that no node has"


def test_run_has_a_typed_parameter_for_every_input_and_a_default_for_the_optional_ones():
    wrong = []
    for node in NODES:
        schema = node.define_schema()
        parameters = signature(node.run).parameters
        ids = {item.id: item.optional for item in schema.inputs}
        wrong += [f"{schema.node_id}: no parameter {id}" for id in ids if id not in parameters]
        wrong += [
            f"{schema.node_id}.{id} has no default"
            for id, optional in ids.items()
            if optional and id in parameters and parameters[id].default is Parameter.empty
        ]
        wrong += [
            f"{schema.node_id}: {id} has no type"
            for id, parameter in parameters.items()
            if parameter.annotation is Parameter.empty
        ]
        surplus = {id for id in parameters if id not in ids}
        # A base class serves several schemas, so run may have parameters that only a sister node has an input for.
        sisters = [each for each in NODES if each.run.__func__ is node.run.__func__]
        known = {item.id for each in sisters for item in each.define_schema().inputs}
        wrong += [f"{schema.node_id}: {id} is no input" for id in surplus - known]
    assert wrong == []


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__qualname__)
def test_a_value_that_would_make_a_wrong_picture_is_refused_by_name_before_the_node_runs(kind):
    accepted, count = [], 0
    for node, schema, item in every_input():
        if type(item) is not kind:
            continue
        for value in REFUSED[kind]:
            count += 1
            try:
                node.execute(**{item.id: [value] if schema.is_input_list else value})
            except AdapterError as error:
                if item.id in str(error) and len(str(error)) < 1510:
                    continue
                accepted.append(f"{name(schema, item)}: {error!s:.100}")
            except Exception as error:  # noqa: BLE001 - a node that ran is the fault that this test looks for
                accepted.append(f"{name(schema, item)} {value!r:.40}: {error!r:.100}")
            else:
                accepted.append(f"{name(schema, item)} took {value!r:.40}")
    assert accepted == [] and count > 0


LEFT_OVER: dict[type[io.Input], tuple[Any, ...]] = {  # values of other widgets, and of JSON that no widget writes
    AppendedChoice: (0.5, 20, "", True, "randomize", "0:1.0, 1:1.0"),
    AppendedWhole: (0.5, -1, "", True, "randomize", "0:1.0, 1:1.0", math.inf, math.nan, 10**400),
    AppendedNumber: (-1, 20, "", True, "randomize", "0:1.0, 1:1.0", math.inf, math.nan, 10**400),
}


@pytest.mark.parametrize("kind", LEFT_OVER, ids=lambda kind: kind.__qualname__)
def test_a_leftover_of_an_appended_widget_takes_all_appended_values_with_it_and_nothing_else(kind):
    wrong, count = [], 0
    for _, schema, item in every_input():
        if type(item) is not kind:
            continue
        tolerant = {one.id: one for one in schema.inputs if KINDS[type(one)].tolerant}
        good = {id: (getattr(one, "options", None) or [one.default])[0] for id, one in tolerant.items()}
        kept = {one.id: one.default for one in schema.inputs if type(one) in (io.Float.Input, io.String.Input)}
        if checked(schema, kept | good) != kept | good:
            wrong.append(f"{name(schema, item)}: good values are not read as they are")
        for value in LEFT_OVER[kind]:
            count += 1
            found = checked(schema, kept | good | {item.id: value})
            if found != kept:
                wrong.append(f"{name(schema, item)} = {value!r:.40} gives {found}")
    assert wrong == [] and count > 0


def test_old_names_lists_of_weights_and_sockets_without_a_link_come_in():
    schema = BY_ID["IPAdapterAdvanced"].define_schema()
    for old, new in RENAMED.items():
        given = {"weight": [0.5, 1], "weight_type": old, "attn_mask": None}
        assert checked(schema, given) == {"weight": [0.5, 1.0], "weight_type": new}


def test_weights_of_frames_may_be_a_tensor_or_an_array_and_single_numbers_may_not_be_lists():
    schema = BY_ID["IPAdapterAdvanced"].define_schema()
    halves, frames = [0.5, 1.0], (torch.tensor([0.5, 1.0]), np.array([0.5, 1.0], dtype=np.float32), (0.5, 1))
    for value in frames:
        found = checked(schema, {"weight": value})["weight"]
        assert found == halves and type(found) is list
    for value in (torch.tensor(0.5), np.float32(0.5), np.array(0.5)):
        assert checked(schema, {"weight": value, "start_at": value}) == {"weight": 0.5, "start_at": 0.5}
    for value in (torch.ones(2, 1), np.ones((1, 2)), torch.ones(0)):
        with pytest.raises(AdapterError, match="^weight"):
            checked(schema, {"weight": value})
    with pytest.raises(AdapterError, match="start_at needs a number, and got a list"):
        checked(schema, {"start_at": torch.ones(2)})


def test_every_node_takes_grey_pictures_and_masks_with_a_channel():
    """As three equal colours, and as masks without it, so that no node needs a rule of its own."""
    grey, mask, count = torch.rand(2, 4, 4, 1), torch.rand(2, 1, 4, 4), 0
    for _, schema, item in every_input():
        given = {io.Image.Input: (grey, grey.expand(2, 4, 4, 3)), io.Mask.Input: (mask, mask[:, 0])}.get(type(item))
        if given is not None and not schema.is_input_list:
            count += 1
            assert checked(schema, {item.id: given[0]})[item.id].equal(given[1]), name(schema, item)
    assert count > 50


def test_half_precision_and_booleans_come_in_as_floats():
    image, mask = torch.rand(1, 4, 4, 3).half(), torch.ones(1, 4, 4, dtype=torch.bool)
    found = checked(BY_ID["IPAdapterEncoder"].define_schema(), {"image": image, "mask": mask})
    assert found["image"].equal(image.float()) and found["mask"].equal(torch.ones(1, 4, 4))
    assert image.dtype == torch.float16 and mask.dtype == torch.bool  # what came in is as it was


def test_a_link_that_brings_no_value_is_named():
    with pytest.raises(AdapterError, match="IPAdapter Advanced has no value for model, ipadapter, image. Connect it"):
        BY_ID["IPAdapterAdvanced"].execute(image=None, weight=0.5)


def test_a_node_called_with_an_unknown_name_or_too_many_values_says_so():
    with pytest.raises(TypeError, match="IPAdapterNoise has no input strenght"):
        BY_ID["IPAdapterNoise"].execute(strenght=1.0)
    with pytest.raises(TypeError, match="too many values; its inputs: type, strength, blur, image_optional"):
        BY_ID["IPAdapterNoise"].execute("fade", 1.0, 0, None, 1)


LINKED = {
    ("IPAdapterDemoReference", "picture"): "../../README",
    ("IPAdapterInsightFaceLoader", "model_name"): "../../../ipadapter",
    ("IPAdapterModelLoader", "ipadapter_file"): "../../input/astronaut.png",
    ("IPAdapterOpenCLIPLoader", "file"): "../ipadapter/ip-adapter_sd15.safetensors",
    ("IPAdapterLoadEmbeds", "embeds"): "astronaut.png",
    ("IPAdapterAdvanced", "embeds_scaling"): "none",
}


def test_a_name_that_comes_through_a_real_link_is_refused_too(server):
    from harness.wiring import Wiring

    for (node_id, input), value in LINKED.items():
        w = Wiring(server)
        link = w.graph.add("TestChoice", value=value)
        last = w.add(node_id, **{input: link[0]})
        w.graph.add("PreviewAny", source=last[0])
        with pytest.raises(PromptError, match=rf"{node_id}: {input} cannot be '"):
            server.run(w.graph)


def test_a_prefix_for_embeds_is_refused_before_the_graph_runs(server):
    for prefix in ("", "a/", "a\0b", "x" * 300, "../a", "/tmp/a"):
        g = Graph()
        embeds = g.add("IPAdapterLoadEmbeds", embeds="gone.ipadpt")
        g.add("IPAdapterSaveEmbeds", embeds=embeds[0], filename_prefix=prefix)
        with pytest.raises(PromptError, match=r"IPAdapterSaveEmbeds: Custom validation failed.*(file|leads out of)"):
            server.run(g)


@pytest.mark.parametrize(
    "wrong", [{"image_proj": None}, {"image_proj": {}, "ip_adapter": {}}, {"ipadapter": 1}, "file"]
)
def test_a_value_without_an_adapter_on_an_ipadapter_input_is_refused_in_words(wrong):
    with pytest.raises(AdapterError, match="adapter"):
        open_pipeline(wrong)
