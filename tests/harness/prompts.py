"""The API prompt of a saved workflow, made without a browser."""

from typing import Any


def api_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The API prompt of a workflow without groups, reroutes or subgraphs, made without a browser."""
    muted = {node["id"] for node in workflow["nodes"] if node["mode"] == 2}
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"] if link[1] not in muted}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] not in object_info or node["id"] in muted:
            continue  # a note, which is the page's own, or what is to be switched on later
        inputs = {port["name"]: links[port["link"]] for port in node["inputs"] if port.get("link") in links}
        inputs = values_of(node, object_info) | inputs
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": node["type"]}}
    return prompt


def values_of(node: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """What the widgets of a saved node are set to, by the names of the node's inputs."""
    if node["type"] not in object_info:
        return {}
    known = {name for names in object_info[node["type"]]["input_order"].values() for name in names}
    widgets = [port["name"] for port in node["inputs"] if "widget" in port]
    values = list(node.get("widgets_values", ()))
    if "seed" in widgets:
        del values[widgets.index("seed") + 1]  # the page's own control_after_generate stands behind a seed
    # Unknown ones are buttons of the page, and what this release of ComfyUI does not have yet.
    return {name: value for name, value in zip(widgets, values, strict=True) if name in known}
