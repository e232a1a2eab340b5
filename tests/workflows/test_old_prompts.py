"""Saved widget values of every revision of every node land on their inputs, and so do prompts of scripts from then.

Wired workflows of those revisions, and that they run, are in test_old_workflows.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.browser import ComfyPage
from harness.client import Client, PromptError
from harness.sampling import sample
from harness.wiring import Wiring

TESTS = Path(__file__).parents[1]
SAVED: dict[str, dict[str, list[Any]]] = json.loads((TESTS / "old_workflows" / "widgets.json").read_text("utf-8"))
INTERFACES = ("node", "legacy")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "FILES")
WITHOUT_WIDGETS = {"IPAdapterWeightsFromStrategy", "IPAdapterCombineParams", "IPAdapterBatchEmbeds"}
OTHER_INPUTS = {"IPAdapterLoadEmbeds"}  # its files are those of a user


def interface() -> dict[str, Any]:
    files = [TESTS / "reference" / f"{name}_interface.json" for name in INTERFACES]
    return {id: node for file in files for id, node in json.loads(file.read_text("utf-8")).items()}


def widgets_of(node: dict[str, Any]) -> list[str]:
    """The names of a node's widgets in the order in which the old page saved their values."""
    inputs = node["inputs"].items()
    return [name for name, spec in inputs if isinstance(spec["type"], list) or spec["type"] in WIDGETS]


def workflow(lists: list[tuple[str, list[Any]]]) -> dict[str, Any]:
    """A workflow as the page saved it then: values by position, and no word about which input each one is."""
    nodes = [
        {
            "id": number, "type": node_id, "pos": [400 * (number % 8), 400 * (number // 8)], "size": [300, 200],
            "flags": {}, "order": number, "mode": 0, "inputs": [], "outputs": [],
            "properties": {"Node name for S&R": node_id}, "widgets_values": values,
        }
        for number, (node_id, values) in enumerate(lists, 1)
    ]  # fmt: skip
    rest = {"links": [], "groups": [], "config": {}, "extra": {}, "version": 0.4}
    return {"last_node_id": len(nodes), "last_link_id": 0, "nodes": nodes, **rest}


def default_of(spec: list[Any]) -> Any:
    options = spec[1] if len(spec) > 1 else {}
    choices = spec[0] if isinstance(spec[0], list) else options.get("options", [None])
    return options.get("default", choices[0])


def test_every_node_with_widgets_has_a_saved_list():
    assert set(SAVED) == set(interface()) - WITHOUT_WIDGETS - OTHER_INPUTS


def test_saved_values_land_on_their_inputs_and_later_inputs_get_their_defaults(page: ComfyPage, server: Client):
    lists = [(node_id, values) for node_id, revisions in SAVED.items() for values in revisions.values()]
    page.load(workflow(lists))
    assert page.missing_nodes() == [] and page.errors == []
    prompt, known, saved_by = page.prompt(), server.call("/object_info"), interface()
    for number, (node_id, values) in enumerate(lists, 1):
        names, inputs = widgets_of(saved_by[node_id]), prompt[str(number)]["inputs"]
        assert {name: inputs[name] for name in names[: len(values)]} == dict(zip(names, values, strict=False)), node_id
        sections = known[node_id]["input"]
        specs = sections["required"] | sections.get("optional", {})
        later = {name: value for name, value in inputs.items() if name not in names[: len(values)]}
        assert later == {name: default_of(specs[name]) for name in later}, node_id
        assert set(names) <= set(inputs), node_id


LATER_INPUTS = {
    "IPAdapterAdvanced": "embeds_scaling",
    "IPAdapterBatch": "encode_batch_size",
    "IPAdapterApply": "unfold_batch",
}


@pytest.mark.parametrize("node_id", LATER_INPUTS)
def test_a_script_s_prompt_from_before_an_input_is_refused_by_name(server: Client, node_id: str):
    """Only the page knows defaults; ComfyUI asks prompts for everything that is required, as it did with the old pack.

    The inputs are required because programs read them there.
    """
    w = Wiring(server)
    missing = LATER_INPUTS[node_id]
    w.graph.save("latent", sample(w.graph, w.add(node_id, **{missing: None})[0])[0])
    with pytest.raises(PromptError, match=f"{node_id}: Required input is missing: {missing}"):
        server.run(w.graph)


def test_a_script_s_prompt_needs_nothing_that_the_old_pack_did_not_have(server: Client):
    known = server.call("/object_info")
    for node_id, node in interface().items():
        required = {name for name, spec in node["inputs"].items() if spec["section"] == "required"}
        assert set(known[node_id]["input"]["required"]) == required, node_id
