"""Servers as forks of one process that has imported their packages.

A ComfyUI takes ten seconds of a processor to start, eight of them to import PyTorch and other packages, which are the
same in every one. So one process imports them, and servers begin as copies of it. ComfyUI itself is imported in the
copy, by its own main.py, which finds arguments, environment, folder and paths as `python -s main.py` does. It differs
in one thing: ComfyUI warns in its log that PyTorch was there before it, because a device is chosen by the environment
that PyTorch is imported in. On the CPU there is none to choose.
"""

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

CRADLE = Path(__file__).with_name("cradle.py")
# What most of a start is spent on. None of them starts threads, which a copy would be without, or looks for a GPU.
PACKAGES = (
    "torch", "torchvision", "torchaudio", "transformers.models", "scipy.integrate", "scipy.stats", "sqlalchemy",
    "alembic", "kornia", "av", "cv2", "aiohttp", "spandrel",
)  # fmt: skip


class Nursery:
    """The first process; it ends, and its copies with it, when the process that made it ends."""

    def __init__(self, folder: Path, environment: Mapping[str, str], packages: Sequence[str] = PACKAGES) -> None:
        self.connection, theirs = Pipe()
        self.one_at_a_time = threading.Lock()
        self.process = subprocess.Popen(
            [sys.executable, "-s", str(CRADLE), str(theirs.fileno()), str(folder), *packages],
            stdin=subprocess.DEVNULL, env=environment, pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl+C is for pytest, which stops the servers
        )  # fmt: skip
        theirs.close()
        atexit.register(self.close)

    def ask(self, request: Any) -> Any:
        with self.one_at_a_time:
            self.connection.send(request)
            return self.connection.recv()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> "Forked":
        """Run a Python file with arguments in the folder of this nursery."""
        return Forked(self, self.ask((list(arguments), dict(environment), str(log))))

    def close(self) -> None:
        self.connection.close()
        self.process.wait()


class Forked:
    """A process of a nursery: as much of subprocess.Popen as is asked of a server."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.nursery.ask(self.pid)
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
        if self.poll() is None:  # until then nobody else has its id
            os.kill(self.pid, number)
