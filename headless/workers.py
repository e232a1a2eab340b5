"""Who runs rows: a server that somebody else started, or one of our own."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .client import Client, Made
from .errors import ServerLost, Stopped
from .graph import NodeInfo, Prompt
from .page import to_prompt
from .plan import Row
from .process import ComfyUI


def never() -> bool:
    return False


class Worker(Protocol):
    """One server at a time, used from one thread."""

    name: str

    def start(self) -> None: ...

    def nodes(self) -> NodeInfo: ...

    def to_prompt(self, workflow: Mapping[str, Any]) -> Prompt:
        """A page-format workflow in API format."""
        ...

    def run(self, row: Row, timeout: float, stopped: Callable[[], bool]) -> Made: ...

    def revive(self, stopped: Callable[[], bool]) -> None:
        """After ServerLost: come back only when the server can be used again; ServerLost when it never will."""
        ...

    def stop(self) -> None: ...


class Running:
    """A server that runs already; its `patience` and the time it has to come back are in seconds."""

    def __init__(self, url: str, patience: float = 60, comes_back_within: float = 300) -> None:
        self.name = url
        self.comes_back_within = comes_back_within
        self.client = Client(url, patience)

    def start(self) -> None:
        if not self.client.answers():
            raise ServerLost(f"There is no ComfyUI at {self.name}, or it does not answer")

    def nodes(self) -> NodeInfo:
        return self.client.nodes()

    def to_prompt(self, workflow: Mapping[str, Any]) -> Prompt:
        return to_prompt(workflow, self.client.url)

    def run(self, row: Row, timeout: float, stopped: Callable[[], bool] = never) -> Made:
        for picture in row.pictures:
            if picture.name not in self.client.uploaded:
                self.client.upload(picture.name, picture.read())
        return self.client.run(row.prompt, timeout, stopped)

    def revive(self, stopped: Callable[[], bool] = never) -> None:
        self.client = Client(self.name, self.client.patience)  # what was uploaded may be gone with the server
        end = time.monotonic() + self.comes_back_within
        while not self.client.answers():
            if stopped():
                raise Stopped
            if time.monotonic() > end:
                raise ServerLost(f"{self.name} did not come back within {self.comes_back_within:.0f} s")
            time.sleep(1)

    def stop(self) -> None:
        self.client.session.close()


class Own(Running):
    """A ComfyUI of our own: started here, started again when it is lost."""

    def __init__(self, name: str, flags: Sequence[str] = (), patience: float = 60) -> None:
        self.comfyui = ComfyUI(flags)
        super().__init__("", patience)
        self.name = name

    def start(self) -> None:
        self.comfyui.start()
        self.client = Client(self.comfyui.url, self.client.patience)

    def revive(self, stopped: Callable[[], bool] = never) -> None:
        self.comfyui.stop()
        self.start()

    def stop(self) -> None:
        super().stop()
        self.comfyui.stop()
