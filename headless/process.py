"""A ComfyUI of our own: started with this pack, in a folder that is gone when it stops."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import BatchError, ServerLost

ROOT = Path(__file__).parents[1]
SERVED = ROOT / ".cache" / "serve" / "models"  # where `python atelier.py serve` keeps models
LEASH = Path(__file__).with_name("leash.py")
FOLDERS = ("custom_nodes", "input", "output", "temp", "user/default/workflows", "user/default/subgraphs", "models")
NOT_THE_PACK = shutil.ignore_patterns(".*", "__pycache__", "tests", "output")


def find_comfyui() -> Path:
    """The ComfyUI that COMFYUI_PATH names, else the one this pack lies in."""
    named = os.environ.get("COMFYUI_PATH")
    host = Path(named).resolve() if named else ROOT.parents[1]
    if not (host / "main.py").is_file() or not (host / "comfy").is_dir():
        raise BatchError(f"There is no ComfyUI in {host}. Set COMFYUI_PATH, use python atelier.py batch, or --server.")
    return host


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def device_flags() -> list[str]:
    import torch  # late: seconds, and only needed where a ComfyUI is started

    return [] if torch.cuda.is_available() or torch.backends.mps.is_available() else ["--cpu"]


def name_models(file: Path, host: Path) -> None:
    """Write the list of model folders: ComfyUI's own, and those of `python atelier.py serve`."""
    lines = []
    for name, models in {"host": host / "models", "served": SERVED}.items():
        folders = sorted(folder.name for folder in models.glob("*") if folder.is_dir())
        if folders:
            lines += [f"{name}:", f"  base_path: {models.as_posix()}", *(f"  {folder}: {folder}" for folder in folders)]
    file.write_text("\n".join(lines) + "\n")


class ComfyUI:
    """A ComfyUI process on a port of this machine; it ends with the process that started it, however that ends."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        self.host = find_comfyui()
        self.flags = flags
        self.process: subprocess.Popen[bytes] | None = None
        self.base = Path()
        self.url = ""

    def start(self, timeout: float = 240) -> None:
        """Start it and wait until it answers; ServerLost with the end of its log when it does not."""
        self.base = Path(tempfile.mkdtemp(prefix="atelier-batch-"))
        for name in FOLDERS:
            (self.base / name).mkdir(parents=True)
        pack = self.base / "custom_nodes" / "ComfyUI-IPAdapter-Atelier"
        try:
            pack.symlink_to(ROOT, target_is_directory=True)
        except OSError:  # Windows without developer mode
            shutil.copytree(ROOT, pack, ignore=NOT_THE_PACK)
        name_models(self.base / "models.yaml", self.host)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-s", str(LEASH), str(self.host / "main.py"), "--port", str(port)]
        command += ["--base-directory", str(self.base), "--extra-model-paths-config", str(self.base / "models.yaml")]
        command += ["--database-url", "sqlite:///:memory:", "--disable-auto-launch", "--disable-api-nodes"]
        command += [*(self.flags if "--cpu" in self.flags else [*device_flags(), *self.flags])]
        environment = os.environ | {"PYTHONPATH": "", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, cwd=self.host,
                start_new_session=True,  # Ctrl+C is for us: we stop it when its row is cancelled
            )  # fmt: skip
        self.wait_until_ready(port, timeout)

    def wait_until_ready(self, port: int, timeout: float) -> None:
        process, end = self.process, time.monotonic() + timeout
        assert process
        while time.monotonic() < end and process.poll() is None:  # whoever stops it from beside takes self.process away
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        try:
            said = self.log_file.read_text("utf-8", "replace")[-3000:]
        except FileNotFoundError:
            said = "it was stopped before it answered"
        self.stop()
        raise ServerLost(f"ComfyUI in {self.host} did not start:\n{said}")

    @property
    def log_file(self) -> Path:
        return self.base / "comfyui.log"

    def stop(self) -> None:
        process, self.process = self.process, None  # threads may stop it side by side
        if process:
            process.kill()  # there is nothing in its folder that anybody keeps
            process.wait()
            shutil.rmtree(self.base, ignore_errors=True)
