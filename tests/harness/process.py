"""A ComfyUI process that has this pack, and a base directory of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import Self

from .client import Client
from .host import HINT, ROOT, find_comfyui, front_end
from .nursery import Forked

PACK = "ComfyUI-IPAdapter-Atelier"
BROKEN = ("IMPORT FAILED", "Error while calling comfy_entrypoint", "Cannot import")
FLAGS = ("--disable-auto-launch", "--disable-api-nodes", *front_end())
FOLDERS = ("custom_nodes", "input", "output", "temp", "user", "models/ipadapter")
NOT_THE_PACK = shutil.ignore_patterns(".*", "__pycache__", "tests", "output")


def link(source: Path, target: Path) -> None:
    """Link a folder, or copy it where links are not allowed (Windows without developer mode)."""
    try:
        target.symlink_to(source, target_is_directory=True)
    except OSError:
        shutil.copytree(source, target, ignore=NOT_THE_PACK)


@contextmanager
def one_line_errors(task: str, server: "ComfyUI") -> Iterator[None]:
    """End a task in a line for its user where its server does not start, stops by itself or does not answer."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # a TimeoutError is an OSError
        reason = str(error).partition("\n")[0].rstrip(":.")
        raise SystemExit(
            f"[{task}] {reason}. Run it again; if it fails again, see the last lines of {server.log_file}."
        ) from error


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def whole_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Ours without the tests' modules, and a server's own."""
    return os.environ | {"PYTHONPATH": "", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"} | dict(own)


def refuse_a_pack_that_failed(log: str) -> None:
    for line in log.splitlines():
        if "custom_nodes" in line and any(words in line for words in BROKEN):  # not ComfyUI's own optional nodes
            raise RuntimeError(f"ComfyUI could not load a node pack: {line}\n{log}")


def end(process: subprocess.Popen[bytes] | Forked) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class ComfyUI(Client):
    """A ComfyUI server; use it in a `with` block."""

    environment: Mapping[str, str] = {}

    def __init__(self, base: Path, *flags: str, port: int | None = None) -> None:
        host = find_comfyui()
        if host is None:
            raise FileNotFoundError(HINT)
        self.host = host
        self.base = base
        self.flags = flags
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | Forked | None = None
        super().__init__(f"http://127.0.0.1:{self.port}", base / "output", base / "temp")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def make_base(self) -> None:
        """Make the folders that ComfyUI is started with."""
        for name in FOLDERS:
            (self.base / name).mkdir(parents=True, exist_ok=True)
        self.add_pack(PACK, ROOT)

    def add_pack(self, name: str, source: Path) -> None:
        target = self.base / "custom_nodes" / name
        if not target.exists():
            link(source, target)

    def start(self) -> None:
        self.make_base()
        arguments = [str(self.host / "main.py"), "--port", str(self.port)]
        self.process = self.launch([*arguments, "--base-directory", str(self.base), *FLAGS, *self.flags])
        self.wait_until_ready()
        refuse_a_pack_that_failed(self.log)

    def launch(self, arguments: list[str]) -> subprocess.Popen[bytes] | Forked:
        with self.log_file.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-s", *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=whole_environment(self.environment), cwd=self.host,
            )  # fmt: skip

    def wait_until_ready(self, timeout: float = 600) -> None:  # a busy machine takes minutes to import PyTorch
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.check_alive()
            try:
                self.call("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise TimeoutError(f"ComfyUI did not answer within {timeout:.0f} s:\n{self.log[-4000:]}")

    def check_alive(self) -> None:
        if self.process and self.process.poll() is not None:
            raise RuntimeError(f"ComfyUI stopped with code {self.process.returncode}:\n{self.log[-4000:]}")

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            end(self.process)

    @property
    def log_file(self) -> Path:
        return self.base / "comfyui.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")
