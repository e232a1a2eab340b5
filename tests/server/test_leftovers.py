"""Values left over at the end of a saved widget list do no harm: they land on widgets that read only their own values.

Leftovers on the widgets of faces are tested with real faces in tests/faces/test_doubts.py, and every appended widget of
every node without a server in tests/trust/test_links.py.
"""

import json
from pathlib import Path

import pytest

from harness.graph import Graph
from harness.wiring import Wiring
from pack import nodes
from pack.nodes.guard import KINDS, checked
from pack.nodes.loading.files import register_folder

REFERENCE = Path(__file__).parents[1] / "reference"
LEFT_OVER = [0.5, 20, -1, "0:1.0, 1:1.0, 2:1.0", "", True, "randomize", None]


def test_every_widget_behind_those_of_published_workflows_is_read_with_tolerance():
    register_folder("ipadapter")
    known = {}
    for file in ("node_interface.json", "legacy_interface.json"):
        known |= json.loads((REFERENCE / file).read_text("utf-8"))
    schemas = {node.define_schema().node_id: node.define_schema() for node in nodes.NODES}
    behind = [
        (id, item) for id in known for item in schemas[id].inputs
        if item.id not in known[id]["inputs"] and hasattr(item, "default")
    ]  # fmt: skip
    assert {item.id for _, item in behind} == {
        "face", "face_index", "missing_face", "faceid_plus_version", "size", "random_seed", "model_name",
        "least_score",
    }  # fmt: skip
    assert [f"{id}.{item.id}" for id, item in behind if not KINDS[type(item)].tolerant] == []


def test_one_leftover_takes_all_appended_values_with_it_and_real_values_stay():
    schema = next(node for node in nodes.NODES if node.__name__ == "IPAdapterFaceID").define_schema()
    known = {"weight": 1.0, "combine_embeds": "concat"}
    good = {"face": "largest", "face_index": 1.0, "missing_face": "error", "least_score": 0}
    assert checked(schema, known | good) == known | good
    assert isinstance(checked(schema, good)["face_index"], int)
    for left in ({"face": 0.5}, {"face_index": 64}, {"least_score": True}, {"least_score": 1.5}):
        assert checked(schema, known | good | left) == known, left


def prepared(w: Wiring, name: str, **more: object) -> None:
    """Save what IPAdapter Prep Image For ClipVision makes of a picture under a name."""
    widgets = {"interpolation": "LANCZOS", "crop_position": "top", "sharpening": 0.0}
    w.graph.save(name, w.graph.add("PrepImageForClipVision", image=w.image(), **widgets, **more)[0])


def test_a_picture_is_prepared_in_its_usual_size_whatever_is_left_over(server):
    w = Wiring(server)
    prepared(w, "usual")
    for number, value in enumerate(LEFT_OVER):
        prepared(w, f"left {number}", size=value)
    result = server.run(w.graph)
    assert result.tensor("usual").shape == (1, 224, 224, 3)
    differ = [
        value for n, value in enumerate(LEFT_OVER) if not result.tensor(f"left {n}").equal(result.tensor("usual"))
    ]
    assert differ == []


def test_a_size_is_chosen_by_name_or_number(server):
    w = Wiring(server)
    for value in ("336", 336):
        prepared(w, repr(value), size=value)
    result = server.run(w.graph)
    assert [result.tensor(repr(value)).shape for value in ("336", 336)] == [(1, 336, 336, 3)] * 2


def test_weights_are_the_same_whatever_is_left_over(server):
    g = Graph()
    widgets = {
        "weights": "1.0, 0.0", "timing": "linear", "frames": 4, "start_frame": 0, "end_frame": 9999,
        "add_starting_frames": 0, "add_ending_frames": 0, "method": "full batch",
    }  # fmt: skip
    shown = [
        g.add("PreviewAny", source=g.add("IPAdapterWeights", **widgets, random_seed=value)[0]) for value in LEFT_OVER
    ]
    outputs = server.run(g).outputs
    for value, node in zip(LEFT_OVER, shown, strict=True):
        assert json.loads(outputs[node.id]["text"][0]) == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0]), value


def test_a_face_node_with_the_layer_weights_of_april_2024_runs_as_without(server):
    w = Wiring(server)
    plain = w.add("IPAdapterFaceID")[0]
    left = w.add("IPAdapterFaceID", face="0:1.0, 1:1.0", face_index="", missing_face=0.5, faceid_plus_version=3)[0]
    w.same(left, plain)
    said = [line for line in server.log.splitlines() if "Left over from another version" in line]
    assert "Layer weights are set on IPAdapter Mad Scientist" in said[-1]
