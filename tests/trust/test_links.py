"""What comes by a link is checked by the node itself, since ComfyUI only checks what is typed."""

import math
from typing import Any

import pytest
import torch

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

from comfy_api.latest import io

from harness.client import PromptError
from harness.graph import Graph
from pack.ipadapter.errors import AdapterError
from pack.nodes import NODES
from pack.nodes.inputs import EmbedsType
from pack.nodes.loading.files import register_adapter_folder
from pack.nodes.old.appended import AppendedChoice, AppendedWhole
from pack.nodes.old.names import RENAMED

register_adapter_folder()
OWN = (AppendedChoice, AppendedWhole)  # they take whatever is left over


def inputs_of(kind: type) -> list[Any]:
    found = [(node, item) for node in NODES for item in node.define_schema().inputs if isinstance(item, kind)]
    wanted = [pair for pair in found if not isinstance(pair[1], OWN)]
    return [pytest.param(*pair, id=f"{pair[0].define_schema().node_id}-{pair[1].id}") for pair in wanted]


def give(node: type[io.ComfyNode], item: Any, value: Any) -> None:
    node.execute(**{item.id: [value] if node.define_schema().is_input_list else value})


def refused(node: type[io.ComfyNode], item: Any, value: Any) -> None:
    with pytest.raises(AdapterError, match=item.id) as error:
        give(node, item, value)
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize(("node", "item"), inputs_of(io.Combo.Input))
def test_a_choice_outside_the_list_is_refused_before_anything_happens(node, item):
    for value in ("../x", "no such choice" * 100_000, 7, ["linear"]):
        refused(node, item, value)


@pytest.mark.parametrize(("node", "item"), inputs_of(io.Float.Input))
def test_what_is_no_usable_number_is_refused(node, item):
    for value in (math.nan, -math.inf, 1e38, 10**400, "one", [1.0, math.nan]):
        refused(node, item, value)


@pytest.mark.parametrize(("node", "item"), inputs_of(io.Int.Input))
def test_what_is_no_whole_number_within_the_limits_is_refused(node, item):
    for value in (math.nan, 10**400, -1, 0.5, "1"):
        refused(node, item, value)


@pytest.mark.parametrize(("node", "item"), inputs_of(io.Image.Input))
def test_pictures_that_would_make_a_wrong_picture_are_refused(node, item):
    whole = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
    for value in (whole, torch.full((1, 4, 4, 3), math.nan), torch.zeros(0, 4, 4, 3), torch.zeros(4, 4, 3), "a.png"):
        refused(node, item, value)


@pytest.mark.parametrize(("node", "item"), inputs_of(io.Mask.Input))
def test_masks_that_would_make_a_wrong_picture_are_refused(node, item):
    whole = torch.full((1, 4, 4), 255, dtype=torch.uint8)
    for value in (whole, torch.full((1, 4, 4), 1e38), torch.full((4, 4), math.inf), torch.zeros(0, 4, 4), [1]):
        refused(node, item, value)


@pytest.mark.parametrize(("node", "item"), inputs_of(EmbedsType.Input))
def test_embeds_that_would_make_a_wrong_picture_are_refused(node, item):
    for value in (torch.full((1, 8), 1e38), torch.full((1, 8), math.nan), torch.ones(1, 8, dtype=torch.int8), "x"):
        refused(node, item, value)


def test_every_kind_of_input_was_looked_at():
    kinds = (io.Combo.Input, io.Float.Input, io.Int.Input, io.Image.Input, io.Mask.Input, EmbedsType.Input)
    assert [len(inputs_of(kind)) > 5 for kind in kinds] == [True] * len(kinds)


def test_old_names_and_lists_of_weights_still_come_in():
    from pack.nodes.guard import checked

    node = next(node for node in NODES if node.__name__ == "IPAdapterAdvanced")
    given = {"weight": [0.5, 1], "weight_type": next(iter(RENAMED)), "attn_mask": None}
    assert checked(node, given) == given | {"weight": [0.5, 1.0]}


def test_half_precision_and_booleans_come_in_as_floats():
    from pack.nodes.guard import checked

    node = next(node for node in NODES if node.__name__ == "IPAdapterEncoder")
    image, mask = torch.rand(1, 4, 4, 3).half(), torch.ones(1, 4, 4, dtype=torch.bool)
    found = checked(node, {"image": image, "mask": mask})
    assert found["image"].equal(image.float()) and found["mask"].equal(torch.ones(1, 4, 4))
    assert image.dtype == torch.float16 and mask.dtype == torch.bool  # what came in is as it was


LINKED = {
    ("IPAdapterDemoReference", "picture"): "../../README",
    ("IPAdapterInsightFaceLoader", "model_name"): "../../../ipadapter",
    ("IPAdapterModelLoader", "ipadapter_file"): "../../input/astronaut.png",
    ("IPAdapterOpenCLIPLoader", "file"): "../ipadapter/ip-adapter_sd15.safetensors",
    ("IPAdapterLoadEmbeds", "embeds"): "astronaut.png",
    ("IPAdapterAdvanced", "embeds_scaling"): "none",
}


@pytest.mark.parametrize(("node_id", "input"), LINKED)
def test_through_a_real_link_too(server, node_id, input):
    from harness.wiring import Wiring

    w = Wiring(server)
    value = w.graph.add("TestChoice", value=LINKED[node_id, input])
    last = w.add(node_id, **{input: value[0]})
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
