"""python atelier.py serve: leave ComfyUI with the pack and its first lesson open in the browser, until Ctrl+C."""

import argparse
import shutil
import socket
import time
import webbrowser
from pathlib import Path

import torch

from .assets import write_photos
from .host import ROOT
from .lesson_pictures import write_inputs
from .process import PACK, ComfyUI, one_line_errors

BASE = ROOT / ".cache" / "serve"
FIRST_LESSON = f"?template=try_it_no_downloads&source={PACK}"  # the page opens it; pages that cannot open as usual
PICTURES = shutil.ignore_patterns("*.jpg")
SHARED = (
    "checkpoints", "clip_vision", "loras", "vae", "ipadapter", "insightface", "controlnet", "diffusion_models",
    "text_encoders", "open_clip", "instantid", "pulid", "facexlib",
)  # fmt: skip


def share_models(host: Path) -> Path:
    """Name the models of the ComfyUI that is run, beside those in our own folder."""
    file = BASE / "models.yaml"
    lines = ["host:", f"  base_path: {host.as_posix()}/models", *(f"  {name}: {name}" for name in SHARED)]
    file.write_text("\n".join(lines) + "\n")
    return file


def refuse_a_port_in_use(port: int) -> None:
    """Else the page of whoever answers there would be opened, such as a ComfyUI without this pack."""
    with socket.socket() as caller:
        if caller.connect_ex(("127.0.0.1", port)) == 0:
            raise SystemExit(
                f"[serve] Port {port} is taken, perhaps by a ComfyUI that is running. Stop that one, or choose another "
                f"port: python atelier.py serve --port {port + 1}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--no-browser", action="store_true")
    options = parser.parse_args()
    refuse_a_port_in_use(options.port)
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    server = ComfyUI(BASE, *([] if has_gpu else ["--cpu"]), port=options.port)
    server.make_base()
    write_photos(BASE / "input")
    write_inputs(BASE / "input")
    shutil.copytree(ROOT / "workflows", BASE / "user" / "default" / "workflows", dirs_exist_ok=True, ignore=PICTURES)
    database = f"sqlite:///{(BASE / 'user' / 'comfyui.db').as_posix()}"
    server.flags += ("--database-url", database, "--extra-model-paths-config", str(share_models(server.host)))
    print(f"[serve] Starting ComfyUI {'on the GPU' if has_gpu else 'on the CPU'}; log in {server.log_file}", flush=True)
    try:
        with one_line_errors("serve", server), server:
            models = BASE / "models"
            print(f"[serve] ComfyUI is at {server.url}. Models go into {models}. Stop with Ctrl+C.", flush=True)
            if not options.no_browser:
                webbrowser.open(f"{server.url}/{FIRST_LESSON}")
            while server.process and server.process.poll() is None:
                time.sleep(1)
    except KeyboardInterrupt:
        print("\n[serve] Stopped")


if __name__ == "__main__":
    main()
