"""The nodes that existing workflows use: the same ids, names, inputs, order, types, defaults, limits and outputs.

A saved workflow keeps widget values by position and an API prompt keeps them by name, so both have to stay.
"""

import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

from comfy_execution.validation import validate_node_input

from pack.nodes import IPAdapterAtelier
from pack.nodes.loading.files import register_adapter_folder
from pack.nodes.old.names import RENAMED

REFERENCE = Path(__file__).parent / "reference"
CURRENT: dict[str, Any] = json.loads((REFERENCE / "node_interface.json").read_text("utf-8"))
LEGACY: dict[str, Any] = json.loads((REFERENCE / "legacy_interface.json").read_text("utf-8"))
EXPECTED = CURRENT | LEGACY
LIMITS = ("min", "max", "step", "multiline")


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    register_adapter_folder()
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(IPAdapterAtelier().get_node_list())}


def inputs_of(node: Any) -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """Section, type and options of every input, required ones first, as ComfyUI hands them to the browser."""
    sections = node.INPUT_TYPES()
    return {
        name: (section, spec[0], spec[1] if len(spec) > 1 else {})
        for section in ("required", "optional")
        for name, spec in sections.get(section, {}).items()
    }


@pytest.mark.parametrize("node_id", EXPECTED)
def test_a_node_has_its_id_name_and_inputs_in_order_with_new_ones_behind(nodes, node_id):
    assert node_id in nodes, f"{node_id} is missing"
    assert nodes[node_id].GET_SCHEMA().display_name == EXPECTED[node_id]["display_name"]
    found, expected = inputs_of(nodes[node_id]), EXPECTED[node_id]["inputs"]
    assert list(found)[: len(expected)] == list(expected)
    assert all(section == "optional" for section, _, _ in list(found.values())[len(expected) :])


@pytest.mark.parametrize("node_id", EXPECTED)
def test_every_input_has_its_section_type_default_and_limits(nodes, node_id):
    found = inputs_of(nodes[node_id])
    for name, expected in EXPECTED[node_id]["inputs"].items():
        section, type_, options = found[name]
        assert section == expected["section"], name
        check_type(type_, expected["type"])
        first = expected["type"][0] if isinstance(expected["type"], list) else None
        assert options.get("default", first) == expected.get("default", first), name
        assert {key: options.get(key) for key in LIMITS if key in expected} == {
            key: expected[key] for key in LIMITS if key in expected
        }, name


def check_type(found: Any, expected: Any) -> None:
    """Options as a list where the type stands; there may be more of them behind, which no saved workflow minds."""
    if expected == "FILES":
        assert isinstance(found, list)
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert list(found)[: len(expected)] == expected
    else:
        assert not found != expected  # as ComfyUI asks before it connects a link


@pytest.mark.parametrize("node_id", EXPECTED)
def test_a_node_has_its_outputs(nodes, node_id):
    node, expected = nodes[node_id], EXPECTED[node_id]
    assert list(node.RETURN_TYPES)[: len(expected["outputs"])] == expected["outputs"]
    assert list(node.RETURN_NAMES)[: len(expected["output_names"])] == expected["output_names"]
    assert bool(node.OUTPUT_NODE) == expected["output_node"]


def test_every_input_output_and_node_is_explained(nodes):
    for node_id, node in nodes.items():
        schema = node.GET_SCHEMA()
        assert schema.description, node_id
        unexplained = [item.id for item in schema.inputs if not item.tooltip]
        unexplained += [item.display_name for item in schema.outputs if not item.tooltip]
        assert not unexplained, f"{node_id}: {unexplained}"
        assert all(item.display_name for item in schema.outputs), node_id


def test_a_beginner_sees_four_nodes_first(nodes):
    first = {node_id for node_id, node in nodes.items() if node.GET_SCHEMA().category == "ipadapter"}
    assert first == {"IPAdapterUnifiedLoader", "IPAdapter", "IPAdapterApply", "IPAdapterApplyFaceID"}


@pytest.mark.parametrize(
    "typed, found",
    [
        ("reference", "IPAdapter"), ("reference", "IPAdapterApply"), ("ipa", "IPAdapterApply"),
        ("style transfer", "IPAdapterAdvanced"), ("style transfer", "IPAdapterPreciseStyleTransfer"),
        ("face swap", "IPAdapterFaceID"), ("参考图", "IPAdapterApply"), ("换脸", "IPAdapterApplyFaceID"),
    ],
)  # fmt: skip
def test_what_people_type_finds_the_node(nodes, typed, found):
    schema = nodes[found].GET_SCHEMA()
    assert any(typed in words.lower() for words in (schema.display_name, *(schema.search_aliases or ())))


def test_inputs_that_are_not_connected_have_a_default_in_the_code(nodes):
    """ComfyUI leaves an optional input out of the call; only nodes that take any name are exempt."""
    for node_id, node in nodes.items():
        parameters = inspect.signature(node.execute).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            continue
        for item in node.GET_SCHEMA().inputs:
            assert item.id in parameters, f"{node_id} does not take {item.id}"
            if item.optional:
                assert parameters[item.id].default is not inspect.Parameter.empty, f"{node_id}: {item.id}"


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
