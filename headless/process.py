"""A ComfyUI process with this pack, in a temporary folder of its own."""

import json
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
NESTED = {"xlabs_ipadapters": "xlabs/ipadapters"}  # ComfyUI's name of a model folder -> its path below models
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "tests", "output")


def find_comfyui() -> Path:
    """The ComfyUI that COMFYUI_PATH names, else the ComfyUI whose custom_nodes has this pack; BatchError without."""
    named = os.environ.get("COMFYUI_PATH")
    host = Path(named).resolve() if named else ROOT.parents[1]
    if not (host / "main.py").is_file() or not (host / "comfy").is_dir():
        raise BatchError(f"There is no ComfyUI in {host}. Set COMFYUI_PATH, use python atelier.py batch, or --server.")
    return host


def free_port() -> int:
    """A port of this machine that no process uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def device_flags() -> list[str]:
    """The flag --cpu on machines without a GPU."""
    import torch  # here, because the import takes seconds and only starting a ComfyUI needs it

    return [] if torch.cuda.is_available() or torch.backends.mps.is_available() else ["--cpu"]


def name_models(file: Path, host: Path) -> None:
    """Write the configuration of model folders: those of the ComfyUI in `host`, and of `python atelier.py serve`.

    It is JSON, which is YAML too and quotes names such as `123`, which ComfyUI would read as a number.
    """
    found = {}
    for name, models in {"host": host / "models", "served": SERVED}.items():
        folders = {folder.name: folder.name for folder in sorted(models.glob("*")) if folder.is_dir()}
        nested = {folder: path for folder, path in NESTED.items() if (models / path).is_dir()}
        if folders:
            found[name] = {"base_path": models.as_posix(), **folders, **nested}
    file.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")


class ComfyUI:
    """A ComfyUI process on a port of this machine; it ends with this process, also when this process is killed."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        self.host = find_comfyui()
        self.flags = flags
        self.process: subprocess.Popen[bytes] | None = None
        self.base = Path()
        self.url = ""

    def start(self, timeout: float = 240) -> None:
        """Start the process and wait until it answers; ServerLost, with the end of its log, after `timeout` seconds."""
        self.base = Path(tempfile.mkdtemp(prefix="atelier-batch-"))
        for name in FOLDERS:
            (self.base / name).mkdir(parents=True)
        pack = self.base / "custom_nodes" / "ComfyUI-IPAdapter-Atelier"
        try:
            pack.symlink_to(ROOT, target_is_directory=True)
        except OSError:  # Windows without developer mode
            shutil.copytree(ROOT, pack, ignore=NOT_COPIED)
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
                start_new_session=True,  # Ctrl+C goes only to this process, which cancels the row, then stops ComfyUI
            )  # fmt: skip
        self.wait_until_ready(port, timeout)

    def wait_until_ready(self, port: int, timeout: float) -> None:
        """Wait until the port is open; ServerLost, with the end of the log, after `timeout` seconds or an early end."""
        process, end = self.process, time.monotonic() + timeout
        assert process
        while time.monotonic() < end and process.poll() is None:  # `stop` in another thread sets self.process to None
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        try:
            log = self.log_file.read_text("utf-8", "replace")[-3000:]
        except FileNotFoundError:
            log = "it was stopped before it answered"
        self.stop()
        raise ServerLost(f"ComfyUI in {self.host} did not start:\n{log}")

    @property
    def log_file(self) -> Path:
        return self.base / "comfyui.log"

    def stop(self) -> None:
        """Kill the process and remove its folder."""
        process, self.process = self.process, None  # several threads may call this at once
        if process:
            process.kill()  # its folder is removed, so ComfyUI has no files to finish
            process.wait()
            shutil.rmtree(self.base, ignore_errors=True)
