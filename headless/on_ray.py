"""Workers on a Ray cluster: each actor owns one GPU and one ComfyUI with this pack. Ray is imported by `connect` only.

Ray places the actors, starts them again where they died, and carries graphs, pictures and results. This folder travels
with the job; a node needs Ray, ComfyUI (COMFYUI_PATH) with its packages, and the models.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .client import Made
from .errors import BatchError, ServerLost, Stopped
from .graph import NodeInfo, Prompt
from .pictures import Picture
from .plan import Row
from .process import ROOT
from .workers import Own, never

EXCLUDED = [".cache", "output", "tests", "docs", "benchmarks", "workflows", "help", "web"]
LOOK = 0.5  # seconds between looks at whether the batch was interrupted


class Holder:
    """What lives on a node: a ComfyUI of its own."""

    def __init__(self, flags: Sequence[str], patience: float) -> None:
        self.own = Own("", flags, patience)
        self.own.start()
        self.is_lost = False
        self.stopped = threading.Event()

    def ready(self) -> str:
        """Start ComfyUI again if it was lost; where this is: the node, and the actor's process."""
        if self.is_lost:
            self.own.revive()
            self.is_lost = False
        return f"{socket.gethostname()}, process {os.getpid()}"

    def nodes(self) -> NodeInfo:
        return self.own.nodes()

    def to_prompt(self, workflow: Mapping[str, Any]) -> Prompt:
        return self.own.to_prompt(workflow)

    def run(self, prompt: Prompt, pictures: Mapping[str, Any], timeout: float) -> Made:
        """`pictures` are references into the object store, by name; only those that are new here are fetched."""
        import ray

        client = self.own.client
        try:
            for name, reference in pictures.items():
                if name not in client.uploaded:
                    client.upload(name, ray.get(reference))
            return client.run(prompt, timeout, self.stopped.is_set)
        except ServerLost:
            self.is_lost = True
            raise

    def stop(self) -> None:
        self.stopped.set()
        self.own.stop()


class Shelf:
    """Pictures in Ray's object store, each put there once; nodes copy them from each other."""

    def __init__(self) -> None:
        self.references: dict[str, Any] = {}
        self.lock = threading.Lock()

    def reference(self, picture: Picture) -> Any:
        import ray

        with self.lock:
            if picture.name not in self.references:
                self.references[picture.name] = ray.put(picture.read())
            return self.references[picture.name]


class RayWorker:
    """One actor, seen from the driver.

    Ray restarts the actor, and not its row: that goes to another worker at once instead of waiting for the restart.
    """

    def __init__(self, number: int, gpus: float, flags: Sequence[str], patience: float, shelf: Shelf) -> None:
        self.name = f"actor {number + 1}"
        self.gpus, self.flags, self.patience, self.shelf = gpus, flags, patience, shelf
        self.actor: Any = None

    def start(self) -> None:
        import ray

        options = {"num_gpus": self.gpus, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": 2}
        self.actor = ray.remote(Holder).options(**options).remote(self.flags, self.patience)
        self.name = self.ask(self.actor.ready.remote(), never, None)

    def nodes(self) -> NodeInfo:
        return self.ask(self.actor.nodes.remote(), never, None)

    def to_prompt(self, workflow: Mapping[str, Any]) -> Prompt:
        return self.ask(self.actor.to_prompt.remote(workflow), never, None)

    def run(self, row: Row, timeout: float, stopped: Callable[[], bool]) -> Made:
        pictures = {picture.name: self.shelf.reference(picture) for picture in row.pictures}
        within = timeout + 3 * self.patience  # the actor itself says sooner that its ComfyUI hangs
        return self.ask(self.actor.run.remote(row.prompt, pictures, timeout), stopped, within)

    def revive(self, stopped: Callable[[], bool], within: float = 300) -> None:
        end = time.monotonic() + within
        while True:
            try:
                self.name = self.ask(self.actor.ready.remote(), stopped, max(1.0, end - time.monotonic()))
                return
            except ServerLost:
                if time.monotonic() > end:
                    raise
                time.sleep(1)

    def ask(self, reference: Any, stopped: Callable[[], bool], within: float | None) -> Any:
        """An actor's answer. ServerLost: it died, or gave none within so many seconds."""
        import ray
        from ray.exceptions import RayActorError

        end = time.monotonic() + within if within else None
        while not ray.wait([reference], timeout=LOOK)[0]:
            if stopped():
                raise Stopped
            if end and time.monotonic() > end:
                raise ServerLost(f"{self.name} does not answer")
        try:
            return ray.get(reference)
        except RayActorError as error:
            raise ServerLost(f"{self.name} died ({str(error).strip().splitlines()[0]})") from error

    def stop(self) -> None:
        import ray
        from ray.exceptions import RayError

        if self.actor is None:
            return
        try:
            ray.get(self.actor.stop.remote(), timeout=10)
        except RayError:
            pass  # it is dead or hangs, and is killed in any case
        ray.kill(self.actor)


def connect(address: str) -> None:
    """Join a cluster: `auto`, `host:port` or `ray://host:10001`; not again where the program has joined one."""
    try:
        import ray
    except ImportError as error:
        raise BatchError('--ray needs Ray: python -m pip install "ray[default]"') from error
    if ray.is_initialized():
        return
    os.environ.setdefault(
        "RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", ".git,.venv,__pycache__"
    )  # its own, said plainly
    environment = {"working_dir": str(ROOT), "excludes": EXCLUDED}
    try:
        ray.init(address, runtime_env=environment, log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise BatchError(f"There is no Ray cluster at {address}: {error}") from error


def ray_workers(
    address: str, workers: int | None, gpus: float, flags: Sequence[str], patience: float
) -> list[RayWorker]:
    """A worker for every GPU of a cluster, or as many as are asked for; Ray waits for nodes that are to come."""
    connect(address)
    import ray

    if workers is None:
        found = ray.cluster_resources().get("GPU", 0)
        workers = int(found / gpus) if gpus else 0
        if not workers:
            raise BatchError(
                f"The cluster has {found:g} GPUs, and a worker needs {gpus:g}. On a cluster without GPUs, say how many "
                "workers: --workers 4 --gpus 0"
            )
    shelf = Shelf()
    return [RayWorker(number, gpus, flags, patience, shelf) for number in range(workers)]
