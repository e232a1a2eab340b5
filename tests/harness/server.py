"""Start and stop a real ComfyUI server that holds this pack, the test nodes, and nothing else of yours."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
from pathlib import Path
from typing import Any

from .assets import write_adapters, write_photos
from .client import Client
from .host import HINT, ROOT, find_comfyui
from .recipes import MODELS

PACK = "ComfyUI-IPAdapter-Atelier"
BROKEN = ("IMPORT FAILED", "Error while calling comfy_entrypoint", "Cannot import")
FLAGS = (
    "--cpu", "--disable-auto-launch", "--disable-api-nodes", "--cache-classic", "--force-fp32",
    "--use-pytorch-cross-attention",
    "--database-url", "sqlite:///:memory:",
)  # fmt: skip
FOLDERS = (
    "custom_nodes", "input", "output", "temp", "models/ipadapter", "models/checkpoints", "models/clip_vision",
    "user/default/workflows", "user/default/subgraphs",
)  # fmt: skip
# A page that opens on the graph: no tour, no template browser.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.40.0",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
}
NOT_THE_PACK = shutil.ignore_patterns(".*", "__pycache__", "tests", "output")


def link(source: Path, target: Path) -> None:
    """Link a folder, or copy it where links are not allowed (Windows without developer mode)."""
    try:
        target.symlink_to(source, target_is_directory=True)
    except OSError:
        shutil.copytree(source, target, ignore=NOT_THE_PACK)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server(Client):
    """A ComfyUI process with a base directory of its own; use it in a `with` block."""

    def __init__(self, *flags: str, port: int | None = None, base: Path | None = None) -> None:
        host = find_comfyui()
        if host is None:
            raise FileNotFoundError(HINT)
        self.host = host
        self.flags = flags
        self.port = port or free_port()
        self.base = base or Path(tempfile.mkdtemp(prefix="atelier-"))
        self.keep_base = base is not None
        self.process: subprocess.Popen[bytes] | None = None
        super().__init__(f"http://127.0.0.1:{self.port}", self.base / "output", self.base / "temp")

    def __enter__(self) -> "Server":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def make_base(self) -> None:
        for name in FOLDERS:
            (self.base / name).mkdir(parents=True, exist_ok=True)
        (self.base / "user" / "default" / "comfy.settings.json").write_text(json.dumps(SETTINGS))
        write_adapters(self.base / "models" / "ipadapter")
        write_photos(self.base / "input")
        for name, (_, folder) in MODELS.items():
            (self.base / "models" / folder / name).touch()  # so that the page finds the workflows' models
        nodes = self.base / "custom_nodes"
        for name, source in ((PACK, ROOT), ("atelier_test_nodes", ROOT / "tests" / "test_nodes_pack")):
            if not (nodes / name).exists():
                link(source, nodes / name)

    def start(self) -> None:
        self.make_base()
        command = [sys.executable, "-s", str(self.host / "main.py"), "--port", str(self.port)]
        command += ["--base-directory", str(self.base), *FLAGS, *self.flags]
        environment = os.environ | {"PYTHONPATH": "", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.host
            )
        self.wait_until_ready()
        for line in self.log.splitlines():
            if any(words in line for words in BROKEN):
                raise RuntimeError(f"ComfyUI could not load a node pack: {line}\n{self.log}")

    def wait_until_ready(self, timeout: float = 240) -> None:
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
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if not self.keep_base:
            shutil.rmtree(self.base, ignore_errors=True)

    @property
    def log_file(self) -> Path:
        return self.base / "comfyui.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")
