"""What tests of workflows and blueprints share: reading a file, running it with stand-ins, turning it into a prompt."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from harness.browser import ComfyPage
from harness.server import Server
from workflows.tiny_runs import with_latents_saved, with_stand_ins


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8"))


def drawing_nodes(tab: ComfyPage, way: str) -> Iterator[ComfyPage]:
    """For a fixture: the tab in one of its two ways to draw nodes, "canvas" or "vue", and on its canvas afterwards."""
    tab.clear()
    tab.set("Comfy.VueNodes.Enabled", way == "vue")
    yield tab
    tab.clear()
    tab.set("Comfy.VueNodes.Enabled", False)


def latent_of(server: Server, prompt: dict[str, Any]) -> torch.Tensor:
    return server.run(with_latents_saved(with_stand_ins(prompt))).tensor("latent")


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


def opened(page: ComfyPage, workflow: dict[str, Any]) -> dict[str, Any]:
    """The prompt of a workflow that the page opens without a complaint."""
    page.load(workflow)
    assert page.missing_nodes() == [] and page.errors == []
    return page.prompt()


def values_of(node: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """What the widgets of a saved node are set to, by the names of the node's inputs."""
    if node["type"] not in object_info:
        return {}
    known = {name for names in object_info[node["type"]]["input_order"].values() for name in names}
    widgets = [port["name"] for port in node["inputs"] if "widget" in port and port["name"] in known]
    values = list(node.get("widgets_values", ()))
    if "seed" in widgets:
        del values[widgets.index("seed") + 1]  # the page's own control_after_generate stands behind a seed
    if node["type"] == "LoadImage":
        values.pop()  # its upload button
    return dict(zip(widgets, values, strict=True))


def default_of(info: dict[str, Any], name: str, otherwise: Any) -> Any:
    """What a widget is set to in a new node: its default, else the first choice, else nothing of its kind."""
    kind, options, *_ = [*next(group[name] for group in info["input"].values() if name in group), {}]
    choices = kind if isinstance(kind, list) else options.get("options", [])
    first = (choices or [otherwise])[0]  # no choices: of files, where there is none yet
    return options.get("default", {"STRING": "", "BOOLEAN": False}.get(str(kind), first))
