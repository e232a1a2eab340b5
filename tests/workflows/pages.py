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


def opened(page: ComfyPage, workflow: dict[str, Any]) -> dict[str, Any]:
    """The prompt of a workflow that the page opens without a complaint."""
    page.load(workflow)
    assert page.missing_nodes() == [] and page.errors == []
    return page.prompt()


def default_of(info: dict[str, Any], name: str, otherwise: Any) -> Any:
    """What a widget is set to in a new node: its default, else the first choice, else nothing of its kind."""
    kind, options, *_ = [*next(group[name] for group in info["input"].values() if name in group), {}]
    choices = kind if isinstance(kind, list) else options.get("options", [])
    first = (choices or [otherwise])[0]  # no choices: of files, where there is none yet
    return options.get("default", {"STRING": "", "BOOLEAN": False}.get(str(kind), first))
