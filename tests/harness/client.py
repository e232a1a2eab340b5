"""Send graphs to a ComfyUI server and read what they made."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from .graph import Graph

Prompt = Mapping[str, Mapping[str, Any]]
# Names this client: the progress of a prompt without a client goes to every open page, and each page draws it.
CLIENT = "atelier-tests"


class PromptError(RuntimeError):
    """A graph that the server refused, or a node that raised; `str()` is what the user reads."""

    def __init__(self, message: str, node_type: str | None = None, traceback: str = "") -> None:
        super().__init__(message)
        self.node_type = node_type
        self.traceback = traceback


class Result:
    """What one run made: files by node id, and which nodes ComfyUI took from its cache."""

    def __init__(self, entry: dict[str, Any], output: Path, temp: Path) -> None:
        self.outputs: dict[str, Any] = entry["outputs"]
        self.folders = {"output": output, "temp": temp}
        messages: list[tuple[str, Any]] = entry["status"]["messages"]
        self.cached: set[str] = {n for kind, data in messages if kind == "execution_cached" for n in data["nodes"]}

    def files(self, node_id: str) -> list[Path]:
        found = self.outputs[node_id]["images"]
        return [self.folders[f["type"]] / f["subfolder"] / f["filename"] for f in found]

    def images(self, node_id: str) -> list[Image.Image]:
        """The pictures of a SaveImage or PreviewImage node."""
        return [Image.open(file) for file in self.files(node_id)]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """What a TestSaveTensor node of that name was given: {"samples": ...} for a LATENT, {"tensor": ...} else."""
        saved = {f["name"]: f["filename"] for ui in self.outputs.values() for f in ui.get("tensors", ())}
        return load_file(self.folders["output"] / saved[name])

    def tensor(self, name: str) -> Tensor:
        """The first tensor of `tensors(name)`: a LATENT's samples, an IMAGE's pixels."""
        found = self.tensors(name)
        return found.get("samples", next(iter(found.values())))


class Client:
    """The HTTP side of a server at `url`, whose folders are on this machine."""

    def __init__(self, url: str, output: Path, temp: Path) -> None:
        self.url = url
        self.output = output
        self.temp = temp

    def call(self, path: str, body: Any = None) -> Any:
        """The JSON that a route answers; POST when there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def run(self, graph: Graph | Prompt, timeout: float = 300) -> Result:
        """Run a graph to its end.

        Raises:
            PromptError: the server refused the graph, or a node raised; the message is the node's own.
        """
        prompt = graph.prompt if isinstance(graph, Graph) else graph
        entry = self.wait(self.submit(prompt), timeout)
        for kind, data in entry["status"]["messages"]:
            if kind == "execution_error":
                node = data["node_type"]
                message = f"{node}: {data['exception_message'].strip()}"
                raise PromptError(message, node, "".join(data["traceback"]))
        return Result(entry, self.output, self.temp)

    def forget(self) -> None:
        """Empty ComfyUI's cache, so that the next run computes everything again."""
        self.call("/free", {"unload_models": True, "free_memory": True})
        time.sleep(0.5)  # the worker does it when it next wakes, and a prompt that is there already goes first

    def submit(self, prompt: Prompt) -> str:
        try:
            return self.call("/prompt", {"prompt": prompt, "client_id": CLIENT})["prompt_id"]
        except urllib.error.HTTPError as error:
            answer = json.loads(error.read())
        errors = [
            f"{node['class_type']}: {e['message']}: {e['details']}"
            for node in (answer.get("node_errors") or {}).values()
            for e in node["errors"]
        ]
        raise PromptError("; ".join(errors) or answer["error"]["message"])

    def wait(self, prompt_id: str, timeout: float) -> dict[str, Any]:
        began = time.monotonic()
        while (waited := time.monotonic() - began) < timeout:
            if entry := self.call(f"/history/{prompt_id}"):
                return entry[prompt_id]
            self.check_alive()
            time.sleep(min(0.02 + waited / 10, 0.2))  # each request takes milliseconds from the sampling
        raise TimeoutError(f"The graph was not done after {timeout:.0f} s")

    def check_alive(self) -> None:
        """Raise when the server is known to have died."""
