"""A ComfyUI server over HTTP: upload pictures, run a graph, fetch its output."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import requests

from .errors import RowFailed, ServerLost, Stopped
from .graph import NodeInfo, Prompt
from .pictures import FOLDER

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5  # seconds between polls: short runs end early, and long runs cost few requests
CANCEL_PATIENCE = 5  # seconds


@dataclass
class Output:
    """The output of a run: files by name, numbers that nodes showed (scores), and the seconds that the server took."""

    files: list[tuple[str, bytes]]
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Client:
    """A server at a URL. A server that leaves a request without an answer for `patience` seconds counts as lost."""

    def __init__(self, url: str, patience: float) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self.session = requests.Session()
        self.uploaded: set[str] = set()

    def call(self, path: str, body: Any = None, timeout: float | None = None, **more: Any) -> requests.Response:
        """The answer of a route: GET without body and files, else POST.

        Raises:
            ServerLost: no answer within `timeout` seconds (without it, within `patience`), or an error of the server.
        """
        method = "GET" if body is None and not more else "POST"
        try:
            answer = self.session.request(method, self.url + path, json=body, timeout=timeout or self.patience, **more)
        except requests.RequestException as error:
            raise ServerLost(f"{self.url} does not answer ({error.__class__.__name__})") from error
        if answer.status_code >= 500:
            raise ServerLost(f"{self.url}{path} answered {answer.status_code}")
        return answer

    def nodes(self) -> NodeInfo:
        """The server's node classes with their inputs."""
        return self.call("/object_info").json()

    def answers(self) -> bool:
        """Whether there is a ComfyUI at this URL."""
        try:
            return self.call("/system_stats").ok
        except ServerLost:
            return False

    def upload(self, name: str, data: bytes) -> None:
        """Put a picture into the server's input folder. The name has the picture's hash, so it is never another's.

        Raises:
            RowFailed: the server refused the picture.
        """
        answer = self.call("/upload/image", files={"image": (name, data)}, data={"subfolder": FOLDER})
        if not answer.ok or answer.json()["name"] != name:
            raise RowFailed(f"{self.url} did not take the picture {name}: {answer.text[:200]}")
        self.uploaded.add(name)

    def run(self, prompt: Prompt, timeout: float, stopped: Callable[[], bool]) -> Output:
        """Run a graph to its end and fetch the files that it saved.

        Raises:
            RowFailed: the server refused the graph, or a node raised an error; the message is the node's own.
            ServerLost: no answer within `patience`, no end within `timeout` seconds, or the server lost the run.
            Stopped: `stopped()` became true; the run is cancelled on the server.
        """
        run = Run(self, self._submit(prompt))
        try:
            entry = run.wait(timeout, stopped)
        except (ServerLost, Stopped, KeyboardInterrupt):
            run.cancel()
            raise
        for kind, data in entry["status"]["messages"]:
            if kind == "execution_error":
                raise RowFailed(f"{data['node_type']}: {data['exception_message'].strip()}")
            if kind == "execution_interrupted":
                raise RowFailed("somebody interrupted the run on the server")
        outputs = entry["outputs"]
        return Output(fetched(self, outputs), scores(outputs, prompt), seconds(entry["status"]["messages"]))

    def _submit(self, prompt: Prompt) -> str:
        answer = self.call("/prompt", {"prompt": prompt})
        if answer.ok:
            return answer.json()["prompt_id"]
        try:
            said = reasons(answer.json())
        except ValueError:  # not from ComfyUI, but from a proxy before it
            said = f"{self.url}/prompt answered {answer.status_code}: {answer.text[:200]}"
        raise RowFailed(said)


def fetched(client: Client, outputs: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Name and content of every file of a run."""
    files = []
    for file in files_in(outputs):
        query = {name: file.get(name, "") for name in ("filename", "subfolder", "type")}
        answer = client.call("/view?" + urlencode(query))
        if not answer.ok:
            raise RowFailed(f"{client.url} says it saved {file['filename']}, and does not have it")
        files.append((file["filename"], answer.content))
    return files


@dataclass(frozen=True)
class Run:
    """A graph in a server's queue, by the id that the server gave it."""

    client: Client
    id: str

    def wait(self, timeout: float, stopped: Callable[[], bool]) -> dict[str, Any]:
        """The run's entry in the server's history, once it has ended; see `Client.run` for the errors."""
        end, pause, polls = time.monotonic() + timeout, FIRST_PAUSE, 0
        while time.monotonic() < end:
            if entry := self.client.call(f"/history/{self.id}").json():
                return entry[self.id]
            if stopped():
                raise Stopped
            polls += 1
            if polls % 16 == 0 and not self.known():
                raise ServerLost(f"{self.client.url} was started again, and lost the run")
            time.sleep(pause)
            pause = min(pause * 1.2, LONGEST_PAUSE)
        raise ServerLost(f"{self.client.url} was not done after {timeout:.0f} s")

    def known(self) -> bool:
        """Whether the server has the run in its queue or its history."""
        queue = self.client.call("/queue").json()
        waiting = any(item[1] == self.id for part in queue.values() for item in part)
        return waiting or bool(self.client.call(f"/history/{self.id}").json())

    def cancel(self) -> None:
        """Take the run out of the queue, or interrupt it; a server that does not answer has lost it anyway."""
        patience = min(CANCEL_PATIENCE, self.client.patience)
        try:
            self.client.call("/queue", {"delete": [self.id]}, timeout=patience)
            self.client.call("/interrupt", {"prompt_id": self.id}, timeout=patience)
        except ServerLost:
            pass


def reasons(refusal: Mapping[str, Any]) -> str:
    """Why a server refused a graph: the errors of its nodes, or of the whole graph."""
    errors = [
        f"{node['class_type']}: {error['message']}: {error['details']}"
        for node in (refusal.get("node_errors") or {}).values()
        for error in node["errors"]
    ]
    return "; ".join(errors) or refusal["error"]["message"]


def files_in(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files that a run's nodes saved; their previews where no node saved a file."""
    listed = [
        file
        for ui in outputs.values()
        for files in ui.values()
        if isinstance(files, list)
        for file in files
        if isinstance(file, dict) and "filename" in file
    ]
    return [file for file in listed if file.get("type") == "output"] or listed


def seconds(messages: list[Any]) -> float:
    """From the start of an execution to its end, by the server's clock in milliseconds."""
    times = [data["timestamp"] for _, data in messages if "timestamp" in data]
    return (max(times) - min(times)) / 1000


def scores(outputs: Mapping[str, Any], prompt: Prompt) -> dict[str, float]:
    """Numbers that nodes show, as Score nodes do, by node title and name: {"Score.score": 0.31}."""
    numbers = {}
    for id, ui in outputs.items():
        entry = prompt.get(id, {})
        title = entry.get("_meta", {}).get("title") or entry.get("class_type", id)
        for name, values in ui.items():
            if isinstance(values, list | tuple) and len(values) == 1 and type(values[0]) in (int, float):
                numbers[f"{title}.{name}"] = float(values[0])
    return numbers
