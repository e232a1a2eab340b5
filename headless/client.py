"""One ComfyUI server over HTTP: upload pictures, run a graph, fetch what it made."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import requests

from .errors import RowFailed, ServerLost, Stopped
from .graph import NodeInfo, Prompt
from .pictures import FOLDER

FIRST_LOOK, LONGEST_WAIT = 0.01, 0.5  # seconds between looks at a run: short runs are seen soon, long ones cost little


@dataclass
class Made:
    """What a run made: files by name, numbers that nodes showed (scores), and the seconds that the server took."""

    files: list[tuple[str, bytes]]
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Client:
    """A server at a URL. `patience` is how many seconds it may leave a question unanswered before it counts as hung."""

    def __init__(self, url: str, patience: float = 60) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self.session = requests.Session()
        self.uploaded: set[str] = set()

    def call(self, path: str, body: Any = None, timeout: float | None = None, **more: Any) -> requests.Response:
        """A route's answer: POST when there is a body or files. ServerLost: there was no answer in time."""
        method = "GET" if body is None and not more else "POST"
        try:
            answer = self.session.request(method, self.url + path, json=body, timeout=timeout or self.patience, **more)
        except requests.RequestException as error:
            raise ServerLost(f"{self.url} does not answer ({error.__class__.__name__})") from error
        if answer.status_code >= 500:
            raise ServerLost(f"{self.url}{path} answered {answer.status_code}")
        return answer

    def nodes(self) -> NodeInfo:
        return self.call("/object_info").json()

    def answers(self) -> bool:
        try:
            return self.call("/system_stats").ok
        except ServerLost:
            return False

    def upload(self, name: str, data: bytes) -> None:
        """Put a picture into the input folder; under this name there is never another."""
        if name not in self.uploaded:
            answer = self.call("/upload/image", files={"image": (name, data)}, data={"subfolder": FOLDER})
            if not answer.ok or answer.json()["name"] != name:
                raise RowFailed(f"{self.url} did not take the picture {name}: {answer.text[:200]}")
            self.uploaded.add(name)

    def run(self, prompt: Prompt, timeout: float, stopped: Callable[[], bool] = lambda: False) -> Made:
        """Run a graph to its end and fetch what it saved.

        Raises:
            RowFailed: the server refused the graph, or a node raised; the message is the node's own.
            ServerLost: no answer within `patience`, no end within `timeout` seconds, or the server forgot the run.
            Stopped: `stopped()` became true; the run is cancelled on the server.
        """
        id = self.submit(prompt)
        try:
            entry = self.wait(id, timeout, stopped)
        except (ServerLost, Stopped, KeyboardInterrupt):
            self.cancel(id)
            raise
        for kind, data in entry["status"]["messages"]:
            if kind == "execution_error":
                raise RowFailed(f"{data['node_type']}: {data['exception_message'].strip()}")
            if kind == "execution_interrupted":
                raise RowFailed("somebody interrupted the run on the server")
        outputs = entry["outputs"]
        return Made(self.fetch(outputs), scores(outputs, prompt), seconds(entry["status"]["messages"]))

    def submit(self, prompt: Prompt) -> str:
        answer = self.call("/prompt", {"prompt": prompt})
        if answer.ok:
            return answer.json()["prompt_id"]
        said = answer.json()
        errors = [
            f"{node['class_type']}: {error['message']}: {error['details']}"
            for node in (said.get("node_errors") or {}).values()
            for error in node["errors"]
        ]
        raise RowFailed("; ".join(errors) or said["error"]["message"])

    def wait(self, id: str, timeout: float, stopped: Callable[[], bool]) -> dict[str, Any]:
        end, pause, looks = time.monotonic() + timeout, FIRST_LOOK, 0
        while time.monotonic() < end:
            if entry := self.call(f"/history/{id}").json():
                return entry[id]
            if stopped():
                raise Stopped
            looks += 1
            if looks % 16 == 0 and not self.knows(id):
                raise ServerLost(f"{self.url} was started again, and forgot the run")
            time.sleep(pause)
            pause = min(pause * 1.2, LONGEST_WAIT)
        raise ServerLost(f"{self.url} was not done after {timeout:.0f} s")

    def knows(self, id: str) -> bool:
        queue = self.call("/queue").json()
        waiting = any(item[1] == id for part in queue.values() for item in part)
        return waiting or bool(self.call(f"/history/{id}").json())

    def cancel(self, id: str) -> None:
        try:
            self.call("/queue", {"delete": [id]}, timeout=min(5, self.patience))
            self.call("/interrupt", {"prompt_id": id}, timeout=min(5, self.patience))
        except ServerLost:
            pass  # nothing is left to cancel

    def fetch(self, outputs: Mapping[str, Any]) -> list[tuple[str, bytes]]:
        """Every file that was saved; previews where nothing was."""
        listed = [
            file
            for ui in outputs.values()
            for files in ui.values()
            if isinstance(files, list)
            for file in files
            if isinstance(file, dict) and "filename" in file
        ]
        saved = [file for file in listed if file.get("type") == "output"] or listed
        found = []
        for file in saved:
            query = {name: file.get(name, "") for name in ("filename", "subfolder", "type")}
            answer = self.call("/view?" + urlencode(query))
            if not answer.ok:
                raise RowFailed(f"{self.url} says it saved {file['filename']}, and does not have it")
            found.append((file["filename"], answer.content))
        return found


def seconds(messages: list[Any]) -> float:
    """From the start of the execution to its end, by the server's clock."""
    times = [data["timestamp"] for _, data in messages if "timestamp" in data]
    return (max(times) - min(times)) / 1000


def scores(outputs: Mapping[str, Any], prompt: Prompt) -> dict[str, float]:
    """Numbers that nodes show, as Score nodes do, by node title and name: {"Score.score": 0.31}."""
    found = {}
    for id, ui in outputs.items():
        entry = prompt[id] if id in prompt else {}
        title = entry.get("_meta", {}).get("title") or entry.get("class_type", id)
        for name, values in ui.items():
            if isinstance(values, list | tuple) and len(values) == 1 and type(values[0]) in (int, float):
                found[f"{title}.{name}"] = float(values[0])
    return found
