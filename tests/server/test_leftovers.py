"""Values left over at the end of a saved widget list do no harm: they land on widgets that know their own values."""

import json
from pathlib import Path

import pytest

from harness.graph import Graph
from harness.wiring import Wiring
from pack import nodes
from pack.nodes.loading.files import register_adapter_folder
from pack.nodes.old.appended import APPENDED, without_leftovers

REFERENCE = Path(__file__).parents[1] / "reference"
LEFT_OVER = [0.5, 20, -1, "0:1.0, 1:1.0, 2:1.0", "", True, "randomize", None]


def appended_inputs() -> list:
    """Every widget of ours behind those that saved workflows know, with its node."""
    register_adapter_folder()
    known = {}
    for file in ("node_interface.json", "legacy_interface.json"):
        known |= json.loads((REFERENCE / file).read_text("utf-8"))
    schemas = {node.define_schema().node_id: node for node in nodes.NODES}
    items = [(schemas[id], item) for id in known for item in schemas[id].define_schema().inputs]
    behind = [(node, item) for node, item in items if item.id not in known[node.define_schema().node_id]["inputs"]]
    return [(node, item) for node, item in behind if hasattr(item, "default")]


def test_every_appended_widget_is_one_that_leftovers_cannot_harm():
    found = appended_inputs()
    assert {item.id for _, item in found} == {
        "face", "face_index", "missing_face", "faceid_plus_version", "size", "random_seed", "model_name",
        "least_score",
    }  # fmt: skip
    assert [item.id for _, item in found if not isinstance(item, APPENDED)] == []


def test_one_leftover_takes_all_appended_values_with_it_and_real_values_stay():
    face = next(node for node in nodes.NODES if node.__name__ == "IPAdapterFaceID")
    known = {"weight": 1.0, "image": None}
    good = {"face": "largest", "face_index": 1.0, "missing_face": "error"}
    assert without_leftovers(face, known | good) == known | good
    assert isinstance(without_leftovers(face, good)["face_index"], int)
    assert without_leftovers(face, known | good | {"face": 0.5}) == known
    assert without_leftovers(face, known | good | {"face_index": 64}) == known


@pytest.mark.parametrize("value", LEFT_OVER)
def test_a_picture_is_prepared_in_its_usual_size_whatever_is_left_over(server, value):
    w = Wiring(server)
    widgets = {"interpolation": "LANCZOS", "crop_position": "top", "sharpening": 0.0}
    usual = w.graph.add("PrepImageForClipVision", image=w.image(), **widgets)
    w.graph.save("usual", usual[0])
    w.graph.save("left", w.graph.add("PrepImageForClipVision", image=w.image(), **widgets, size=value)[0])
    result = server.run(w.graph)
    assert result.tensor("left").shape == (1, 224, 224, 3) and result.tensor("left").equal(result.tensor("usual"))


@pytest.mark.parametrize("value", ["336", 336])
def test_a_size_is_chosen_by_name_or_number(server, value):
    w = Wiring(server)
    widgets = {"interpolation": "LANCZOS", "crop_position": "top", "sharpening": 0.0}
    w.graph.save("chosen", w.graph.add("PrepImageForClipVision", image=w.image(), **widgets, size=value)[0])
    assert server.run(w.graph).tensor("chosen").shape == (1, 336, 336, 3)


@pytest.mark.parametrize("value", LEFT_OVER)
def test_weights_are_the_same_whatever_is_left_over(server, value):
    g = Graph()
    widgets = {
        "weights": "1.0, 0.0", "timing": "linear", "frames": 4, "start_frame": 0, "end_frame": 9999,
        "add_starting_frames": 0, "add_ending_frames": 0, "method": "full batch",
    }  # fmt: skip
    shown = g.add("PreviewAny", source=g.add("IPAdapterWeights", **widgets, random_seed=value)[0])
    assert json.loads(server.run(g).outputs[shown.id]["text"][0]) == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])


def test_a_face_node_with_the_layer_weights_of_april_2024_runs_as_without(server):
    w = Wiring(server)
    plain = w.add("IPAdapterFaceID")[0]
    left = w.add("IPAdapterFaceID", face="0:1.0, 1:1.0", face_index="", missing_face=0.5, faceid_plus_version=3)[0]
    w.same(left, plain)
    said = [line for line in server.log.splitlines() if "Left over from another version" in line]
    assert "Layer weights are set on IPAdapter Mad Scientist" in said[-1]
