"""Workers run rows: on a server that runs already, or on a ComfyUI that they start themselves."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .client import Client, Output
from .errors import ServerLost, Stopped
from .graph import NodeInfo, Prompt
from .page import to_prompt
from .plan import Row
from .process import ComfyUI

RETURN = 300  # seconds that a lost server has to come back


class Worker(Protocol):
    """Runs rows on a server, a row at a time, in a thread of its own."""

    name: str

    def start(self) -> None:
        """Make the server ready; ServerLost when it does not answer or does not start."""
        ...

    def nodes(self) -> NodeInfo:
        """The server's node classes with their inputs."""
        ...

    def to_prompt(self, workflow: Mapping[str, Any]) -> Prompt:
        """A page-format workflow in API format."""
        ...

    def run(self, row: Row, timeout: float, stopped: Callable[[], bool]) -> Output:
        """Run a row; raises what Client.run raises, ValueError and OSError for pictures that changed or are gone."""
        ...

    def revive(self, stopped: Callable[[], bool]) -> None:
        """Wait for a lost server, or start it again; ServerLost when it does not come back, Stopped at the end."""
        ...

    def stop(self) -> None:
        """Close connections, and end what `start` started."""
        ...


class Running:
    """A server that runs already, at a URL; `patience` is that of its Client, in seconds."""

    def __init__(self, url: str, patience: float) -> None:
        self.name = url
        self.client = Client(url, patience)

    def start(self) -> None:
        if not self.client.answers():
            raise ServerLost(f"There is no ComfyUI at {self.name}, or it does not answer")

    def nodes(self) -> NodeInfo:
        return self.client.nodes()

    def to_prompt(self, workflow: Mapping[str, Any]) -> Prompt:
        return to_prompt(workflow, self.client.url)

    def run(self, row: Row, timeout: float, stopped: Callable[[], bool]) -> Output:
        for picture in row.pictures:
            if picture.name not in self.client.uploaded:
                self.client.upload(picture.name, picture.read())
        return self.client.run(row.prompt, timeout, stopped)

    def revive(self, stopped: Callable[[], bool]) -> None:
        self.client = Client(self.name, self.client.patience)  # its uploads may be lost with the server
        end = time.monotonic() + RETURN
        while not self.client.answers():
            if stopped():
                raise Stopped
            if time.monotonic() > end:
                raise ServerLost(f"{self.name} did not come back within {RETURN} s")
            time.sleep(1)

    def stop(self) -> None:
        self.client.session.close()


class Own(Running):
    """A ComfyUI process that is started here with these flags, and started again when it is lost."""

    def __init__(self, name: str, flags: Sequence[str], patience: float = 60) -> None:
        self.comfyui = ComfyUI(flags)
        super().__init__("", patience)
        self.name = name

    def start(self) -> None:
        self.comfyui.start()
        self.client = Client(self.comfyui.url, self.client.patience)

    def revive(self, stopped: Callable[[], bool]) -> None:
        self.comfyui.stop()
        self.start()

    def stop(self) -> None:
        super().stop()
        self.comfyui.stop()
