"""Servers as forks of one process that has imported their packages.

A ComfyUI takes ten seconds of a processor to start, eight of them to import PyTorch and other packages, which are the
same in every one. So one process imports them for a whole run of the tests, and servers begin as copies of it. ComfyUI
itself is imported in the copy, by its own main.py, which finds arguments, environment, folder and paths as
`python -s main.py` does. It differs in one thing: ComfyUI warns in its log that PyTorch was there before it, because a
device is chosen by the environment that PyTorch is imported in. On the CPU there is none to choose.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

PROCESS = Path(__file__).with_name("nursery_process.py")
# What most of a start is spent on. None of them starts threads, which a copy would be without, or looks for a GPU.
PACKAGES = (
    "torch", "torchvision", "torchaudio", "transformers.models", "scipy.integrate", "scipy.stats", "sqlalchemy",
    "alembic", "kornia", "av", "cv2", "aiohttp", "spandrel",
)  # fmt: skip


class Nursery:
    """The process that imports packages, once somebody connects to its address."""

    def __init__(self, folder: Path, environment: Mapping[str, str], packages: Sequence[str] = PACKAGES) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="atelier-nursery-"))  # for this user alone
        self.address = str(self.place / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            self.process = subprocess.Popen(
                [sys.executable, "-s", str(PROCESS), str(listener.fileno()), str(folder), *packages],
                stdin=subprocess.PIPE, env=environment, pass_fds=[listener.fileno()],  # the pipe closes when we end
                start_new_session=True,  # Ctrl+C is for pytest, which stops the servers
            )  # fmt: skip

    def close(self) -> None:
        self.process.communicate()
        shutil.rmtree(self.place, ignore_errors=True)


class Forks:
    """What one process has forked; all that runs ends when it ends."""

    def __init__(self, address: str) -> None:
        self.connection = Client(address)
        self.one_at_a_time = threading.Lock()

    def ask(self, request: Any) -> Any:
        with self.one_at_a_time:
            self.connection.send(request)
            return self.connection.recv()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> "Forked":
        """Run a Python file with arguments in the folder of the nursery."""
        return Forked(self, self.ask((list(arguments), dict(environment), str(log))))


class Forked:
    """A forked process, with the methods of subprocess.Popen that a server needs."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self.forks = forks
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.forks.ask(self.pid)
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.02)
        return code

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # until it has ended, no other process has its id
            os.kill(self.pid, number)
