"""Fold a graph that the page saved into one node: the file format of ComfyUI's blueprints."""

import uuid
from typing import Any

from .lessons.blueprints import Blueprint

INSIDE, OUT = -10, -20  # the page's ids of where a subgraph's inputs begin and where its outputs end
CATEGORY = "IPAdapter"


def stable_id(*words: str) -> str:
    """The same identifier at every drawing."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(words)))


def fold(name: str, blueprint: Blueprint, flat: dict[str, Any]) -> dict[str, Any]:
    """A workflow of one node, whose inside is `flat`; the page gave its nodes the ids 1, 2, ... in order."""
    ids = {part: number for number, part in enumerate(blueprint.canvas.nodes, 1)}
    nodes = {node["id"]: node for node in flat["nodes"]}
    links = [dict(zip(LINK, link, strict=True)) for link in flat["links"]]
    number = max((link["id"] for link in links), default=0)
    inputs: dict[str, dict[str, Any]] = {}
    widgets: dict[str, Any] = {}
    for part, id in ids.items():
        described = blueprint.canvas.nodes[part]
        for input, outside in described["outside"].items():
            slot = next(i for i, port in enumerate(nodes[id]["inputs"]) if port["name"] == input)
            port = nodes[id]["inputs"][slot]
            made = inputs.setdefault(outside, {"id": stable_id(name, outside), "name": outside, "type": port["type"]})
            made.setdefault("linkIds", []).append(number := number + 1)
            if "widget" in port:
                widgets[outside] = described["widgets"][input]
            port["link"] = number
            entry = (number, INSIDE, list(inputs).index(outside), id, slot, port["type"])
            links.append(dict(zip(LINK, entry, strict=True)))
    outputs = []
    for slot, (output, link) in enumerate(blueprint.outputs.items()):
        port = nodes[ids[link.source]]["outputs"][link.slot]
        port["links"] = [*(port["links"] or ()), number := number + 1]
        entry = (number, ids[link.source], link.slot, OUT, slot, port["type"])
        links.append(dict(zip(LINK, entry, strict=True)))
        made = {"id": stable_id(name, "out", output), "name": output, "type": port["type"], "linkIds": [number]}
        outputs.append(made)
    return whole(name, blueprint, list(nodes.values()), links, list(inputs.values()), outputs, widgets)


LINK = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")


def whole(
    name: str, blueprint: Blueprint, nodes: list[Any], links: list[Any], inputs: list[Any], outputs: list[Any],
    widgets: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    right = max(node["pos"][0] + node["size"][0] for node in nodes)
    definition = {
        "id": stable_id(name), "version": 1, "revision": 0, "config": {}, "name": name,
        "state": {"lastGroupId": 0, "lastNodeId": len(nodes), "lastLinkId": len(links) + 1, "lastRerouteId": 0},
        "inputNode": {"id": INSIDE, "bounding": [-260, 0, 160, 40 + 20 * len(inputs)]},
        "outputNode": {"id": OUT, "bounding": [right + 100, 0, 120, 40 + 20 * len(outputs)]},
        "inputs": inputs, "outputs": outputs, "widgets": [], "nodes": nodes, "groups": [], "links": links,
        "extra": {}, "category": CATEGORY, "description": blueprint.description,
    }  # fmt: skip
    outer = len(nodes) + 1  # an id of the inside would be changed when the page opens the file
    node = {
        "id": outer, "type": definition["id"], "pos": [0, 0], "size": [340, 60 + 24 * len(inputs)], "flags": {},
        "order": 0, "mode": 0, "title": name,
        "inputs": [
            {"name": one["name"], "type": one["type"], "link": None}
            | ({"widget": {"name": one["name"]}} if one["name"] in widgets else {})
            for one in inputs
        ],
        "outputs": [{"name": one["name"], "type": one["type"], "links": None} for one in outputs],
        # No proxyWidgets: front ends since 1.47 show the widgets of linked inputs, as older ones do too, and bring back
        # the first values of entries that they do not know in graphs that were saved with others.
        "properties": {"previewExposures": []},
        "widgets_values": list(widgets.values()),
    }  # fmt: skip
    return {
        "id": stable_id(name, "workflow"), "revision": 0, "last_node_id": outer, "last_link_id": 0, "nodes": [node],
        "links": [], "groups": [], "definitions": {"subgraphs": [definition]}, "config": {}, "extra": {},
        "version": 0.4,
    }  # fmt: skip
