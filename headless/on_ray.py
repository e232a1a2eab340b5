"""Workers on a Ray cluster: each is an actor with a GPU and a ComfyUI process with this pack.

Ray chooses the machines, starts dead actors again, and carries graphs, pictures and outputs. This folder travels with
the job; a machine needs Ray, ComfyUI (COMFYUI_PATH) with its packages, and the models. Ray is an extra, so functions
import it.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .client import Output
from .errors import BatchError, ServerLost, Stopped
from .graph import NodeInfo, Prompt
from .pictures import Picture
from .plan import Row
from .process import ROOT
from .workers import RETURN, Own

EXCLUDED = [  # from the folder that travels with the job
    ".git", ".venv", "__pycache__", ".cache", "output", "tests", "docs", "benchmarks", "workflows", "help", "web",
]  # fmt: skip
POLL = 0.5  # seconds between checks whether the batch was interrupted


class ServerActor:
    """The half of a worker that runs on the cluster: a ComfyUI process of its own."""

    def __init__(self, flags: Sequence[str], patience: float) -> None:
        self.own = Own("", flags, patience)
        self.own.start()
        self.is_lost = False
        self.stopped = threading.Event()

    def ready(self) -> str:
        """Start ComfyUI again if it was lost; the machine and the process id of this actor."""
        if self.is_lost:
            self.own.revive(self.stopped.is_set)
            self.is_lost = False
        return f"{socket.gethostname()}, process {os.getpid()}"

    def nodes(self) -> NodeInfo:
        """See Worker.nodes."""
        return self.own.nodes()

    def to_prompt(self, workflow: Mapping[str, Any]) -> Prompt:
        """See Worker.to_prompt."""
        return self.own.to_prompt(workflow)

    def run(self, prompt: Prompt, pictures: Mapping[str, Any], timeout: float) -> Output:
        """Run a graph. `pictures` are references into Ray's object store, by name; new pictures are fetched here."""
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
        """Cancel the run, and end ComfyUI."""
        self.stopped.set()
        self.own.stop()


class PictureStore:
    """Puts each picture into Ray's object store once; machines copy it from each other."""

    def __init__(self) -> None:
        self.references: dict[str, Any] = {}
        self.lock = threading.Lock()

    def reference(self, picture: Picture) -> Any:
        """A picture's reference; ValueError or OSError where the picture changed or is gone."""
        import ray

        with self.lock:
            if picture.name not in self.references:
                self.references[picture.name] = ray.put(picture.read())
            return self.references[picture.name]


class RayWorker:
    """The half of a worker that runs in the driver.

    Ray starts a dead actor again, but not its row: the row goes to another worker without waiting for the actor.
    """

    def __init__(self, number: int, gpus: float, flags: Sequence[str], patience: float, store: PictureStore) -> None:
        self.name = f"actor {number + 1}"
        self.gpus, self.flags, self.patience, self.store = gpus, flags, patience, store
        self.actor: Any = None

    def start(self) -> None:
        import ray

        options = {"num_gpus": self.gpus, "max_restarts": -1, "max_task_retries": 0, "max_concurrency": 2}
        self.actor = ray.remote(ServerActor).options(**options).remote(self.flags, self.patience)
        self.name = self.answer(self.actor.ready.remote())

    def nodes(self) -> NodeInfo:
        return self.answer(self.actor.nodes.remote())

    def to_prompt(self, workflow: Mapping[str, Any]) -> Prompt:
        return self.answer(self.actor.to_prompt.remote(workflow))

    def run(self, row: Row, timeout: float, stopped: Callable[[], bool]) -> Output:
        pictures = {picture.name: self.store.reference(picture) for picture in row.pictures}
        within = timeout + 3 * self.patience  # the actor itself reports a ComfyUI that hangs earlier than that
        return self.answer(self.actor.run.remote(row.prompt, pictures, timeout), stopped, within)

    def revive(self, stopped: Callable[[], bool]) -> None:
        end = time.monotonic() + RETURN
        while True:
            try:
                self.name = self.answer(self.actor.ready.remote(), stopped, max(1.0, end - time.monotonic()))
                return
            except ServerLost:
                if time.monotonic() > end:
                    raise
                time.sleep(1)

    def answer(self, reference: Any, stopped: Callable[[], bool] = lambda: False, within: float | None = None) -> Any:
        """The result of a remote call; without `within` (seconds) it may take for ever.

        Raises:
            Stopped: `stopped()` became true.
            ServerLost: no answer in time, or an error of Ray: the actor, its machine or an object is lost.
            Exception: the actor's own error, as the actor raised it.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        end = time.monotonic() + within if within else None
        while not ray.wait([reference], timeout=POLL)[0]:
            if stopped():
                raise Stopped
            if end and time.monotonic() > end:
                raise ServerLost(f"{self.name} does not answer")
        try:
            return ray.get(reference)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            reason = (str(error).strip() or "no reason given").splitlines()[0]
            raise ServerLost(f"{self.name} is lost ({type(error).__name__}: {reason})") from error

    def stop(self) -> None:
        import ray
        from ray.exceptions import RayError

        if self.actor is None:
            return
        try:
            ray.get(self.actor.stop.remote(), timeout=10)
        except RayError:
            pass  # a dead actor, or an actor that hangs; the next line ends both
        ray.kill(self.actor)


def connect(address: str) -> None:
    """Join a cluster (`auto`, `host:port` or `ray://host:10001`), unless this program has joined one already.

    Raises:
        BatchError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise BatchError('--ray needs Ray: python -m pip install "ray[default]"') from error
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")  # Ray warns of every folder it names
    environment = {"working_dir": str(ROOT), "excludes": EXCLUDED}
    try:
        ray.init(address, runtime_env=environment, log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise BatchError(f"There is no Ray cluster at {address}: {error}") from error


def ray_workers(
    address: str, workers: int | None, gpus: float, flags: Sequence[str], patience: float
) -> list[RayWorker]:
    """So many workers on a cluster; without a number, a worker for every `gpus` GPUs. Ray waits for machines to join.

    Raises:
        BatchError: see `connect`; or no number was given, and the cluster has too few GPUs for a worker.
    """
    connect(address)
    import ray

    if workers is None:
        total = ray.cluster_resources().get("GPU", 0)
        workers = int(total / gpus) if gpus else 0
        if not workers:
            raise BatchError(
                f"The cluster has {total:g} GPUs, and a worker needs {gpus:g}. On a cluster without GPUs, say how many "
                "workers: --workers 4 --gpus 0"
            )
    store = PictureStore()
    return [RayWorker(number, gpus, flags, patience, store) for number in range(workers)]
