"""The nodes that existing workflows use: the same ids, names, inputs, order, types, defaults, limits and outputs.

A saved workflow keeps widget values by position and an API prompt keeps them by name, so both have to stay.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

from comfy_api.latest import _io as host_io
from comfy_execution.validation import validate_node_input

from pack.nodes import IPAdapterAtelier
from pack.nodes.loading.files import register_folder
from pack.nodes.old.names import RENAMED

REFERENCE = Path(__file__).parent / "reference"
CURRENT: dict[str, Any] = json.loads((REFERENCE / "node_interface.json").read_text("utf-8"))
LEGACY: dict[str, Any] = json.loads((REFERENCE / "legacy_interface.json").read_text("utf-8"))
INSTANTID: dict[str, Any] = json.loads((REFERENCE / "instantid_interface.json").read_text("utf-8"))
PULID: dict[str, Any] = json.loads((REFERENCE / "pulid_interface.json").read_text("utf-8"))
EXPECTED = CURRENT | LEGACY | INSTANTID | PULID
LIMITS = ("min", "max", "step", "multiline")


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    register_folder("ipadapter")
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(IPAdapterAtelier().get_node_list())}


def inputs_of(node: Any) -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """Section, type and options of every input, required ones first, as ComfyUI hands them to the browser."""
    sections = node.INPUT_TYPES()
    return {
        name: (section, spec[0], spec[1] if len(spec) > 1 else {})
        for section in ("required", "optional")
        for name, spec in sections.get(section, {}).items()
    }


def differences(node: Any, expected: dict[str, Any]) -> list[str]:
    """How a node differs from what saved workflows and programs expect of it; new inputs may stand behind."""
    found, wanted = inputs_of(node), expected["inputs"]
    wrong = [
        f"{what}: {is_!r} instead of {was!r}"
        for what, is_, was in (
            ("name", node.GET_SCHEMA().display_name, expected["display_name"]),
            ("inputs", list(found)[: len(wanted)], list(wanted)),
            ("outputs", list(node.RETURN_TYPES)[: len(expected["outputs"])], expected["outputs"]),
            ("names of outputs", list(node.RETURN_NAMES)[: len(expected["outputs"])], expected["output_names"]),
            ("output node", bool(node.OUTPUT_NODE), expected["output_node"]),
        )
        if is_ != was
    ]
    wrong += [
        f"{name} is new and {found[name][0]}" for name in list(found)[len(wanted) :] if found[name][0] != "optional"
    ]
    return wrong + [
        f"{name}: {fault}" for name in wanted if name in found for fault in faults(found[name], wanted[name])
    ]


def faults(found: tuple[str, Any, dict[str, Any]], expected: dict[str, Any]) -> list[str]:
    """How section, type, default and limits of one input differ."""
    section, type_, options = found
    wrong = [] if section == expected["section"] else [f"section {section}"]
    wrong += [] if fits(type_, expected["type"]) else [f"type {type_} instead of {expected['type']}"]
    first = expected["type"][0] if isinstance(expected["type"], list) else None
    if options.get("default", first) != expected.get("default", first):
        wrong.append(f"default {options.get('default')!r}")
    return wrong + [
        f"{key} {options.get(key)!r}" for key in LIMITS if key in expected and options.get(key) != expected[key]
    ]


def fits(found: Any, expected: Any) -> bool:
    """Options as a list where the type stands; there may be more of them behind, which no saved workflow minds."""
    if expected == "FILES":
        return isinstance(found, list)
    if isinstance(expected, list):
        return isinstance(found, list) and list(found)[: len(expected)] == expected
    # As ComfyUI asks before it connects a link; some inputs take several types.
    return not found != expected or expected in str(found).split(",")


def test_every_node_is_what_saved_workflows_expect(nodes):
    assert [id for id in EXPECTED if id not in nodes] == []
    wrong = {id: differences(nodes[id], EXPECTED[id]) for id in EXPECTED}
    assert {id: lines for id, lines in wrong.items() if lines} == {}


def test_no_input_is_dynamic_so_that_releases_validate_them_alike(nodes):
    """ComfyUI 0.40 changed the validation of dynamic inputs, whose names and types depend on the values of a prompt."""
    changed = []
    for node_id, node in nodes.items():
        schema, listed = node.GET_SCHEMA(), node.INPUT_TYPES()
        given = {item.id: ["1", 0] for item in schema.inputs}
        finalized = host_io.get_finalized_class_inputs(listed, given)[0]
        same = (finalized.get(part, {}) == listed.get(part, {}) for part in ("required", "optional"))
        changed += [] if all(same) else [node_id]
        changed += [f"{node_id}: {item.id}" for item in schema.inputs if isinstance(item, host_io.DynamicInput)]
    assert changed == []


def test_nodes_that_the_environment_names_are_left_to_another_pack(nodes, monkeypatch):
    pulid = "ApplyPulid*,Pulid*,FixPulidFluxPatch"  # the setting that docs/faces.md gives
    assert f"ATELIER_WITHOUT_NODES={pulid}" in (Path(__file__).parents[1] / "docs" / "faces.md").read_text("utf-8")
    instantid = {"ApplyInstantID", "ApplyInstantIDAdvanced", "ApplyInstantIDControlNet", "FaceKeypointsPreprocessor"}
    of_pulid = {id for id in nodes if "pulid" in id.lower()}
    assert len(of_pulid) == 12
    for setting, left_out in (("ApplyInstantID*, FaceKeypointsPreprocessor", instantid), (pulid, of_pulid)):
        monkeypatch.setenv("ATELIER_WITHOUT_NODES", setting)
        registered = {node.GET_SCHEMA().node_id for node in asyncio.run(IPAdapterAtelier().get_node_list())}
        assert nodes.keys() - registered == left_out


def test_every_input_output_and_node_is_explained(nodes):
    for node_id, node in nodes.items():
        schema = node.GET_SCHEMA()
        assert schema.description, node_id
        unexplained = [item.id for item in schema.inputs if not item.tooltip]
        unexplained += [item.display_name for item in schema.outputs if not item.tooltip]
        assert not unexplained, f"{node_id}: {unexplained}"
        assert all(item.display_name for item in schema.outputs), node_id


def test_a_beginner_sees_the_one_node_and_then_four(nodes):
    first = [node_id for node_id, node in nodes.items() if node.GET_SCHEMA().category == "ipadapter"]
    assert first[0] == next(iter(nodes)) == "IPAdapterReference"
    assert set(first[1:]) == {"IPAdapterUnifiedLoader", "IPAdapter", "IPAdapterApply", "IPAdapterApplyFaceID"}


SEARCHES = (  # what people type, and a node that has to be found
    ("reference", "IPAdapterReference"), ("reference", "IPAdapter"), ("reference", "IPAdapterApply"),
    ("ipa", "IPAdapterApply"), ("参考图", "IPAdapterReference"),
    ("style transfer", "IPAdapterAdvanced"), ("style transfer", "IPAdapterPreciseStyleTransfer"),
    ("face swap", "IPAdapterFaceID"), ("参考图", "IPAdapterApply"), ("换脸", "IPAdapterApplyFaceID"),
)  # fmt: skip


def test_what_people_type_finds_the_node(nodes):
    def words(node_id: str) -> list[str]:
        schema = nodes[node_id].GET_SCHEMA()
        return [text.lower() for text in (schema.display_name, *(schema.search_aliases or ()))]

    assert [(typed, id) for typed, id in SEARCHES if not any(typed in text for text in words(id))] == []


def test_renamed_weight_types_are_accepted_wherever_there_is_a_weight_type(nodes):
    with_type = [node for node in nodes.values() if "weight_type" in inputs_of(node)]
    assert len(with_type) >= 17
    for node in with_type:
        listed = inputs_of(node)["weight_type"][1]
        for old, new in RENAMED.items():
            assert old not in listed
            if new in listed:
                assert node.validate_inputs(weight_type=old) is True, node.GET_SCHEMA().node_id
        assert "not a weight type" in node.validate_inputs(weight_type="nonsense")
        assert node.validate_inputs(weight_type=None) is True


def test_combos_take_links_from_combos_and_from_nothing_else(nodes):
    combo = inputs_of(nodes["IPAdapterAdvanced"])["weight_type"][1]
    assert validate_node_input("COMBO", combo) and validate_node_input(["any", "list"], "COMBO")
    assert not validate_node_input("MODEL", combo)
    assert not combo == "COMBO"  # where a list is, its options are
    assert combo == list(combo) and combo != list(combo)[1:]
