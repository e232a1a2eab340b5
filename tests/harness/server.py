"""The ComfyUI of the tests: on the CPU, with small models in place of published ones, in a folder of its own."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from authoring.lessons.files import all_files

from .assets import write_adapters, write_photos, write_transformers
from .host import ROOT, find_comfyui
from .lesson_pictures import write_inputs
from .nursery import Forked, Forks, Nursery
from .process import ComfyUI, whole_environment

FLAGS = (
    "--cpu", "--cache-classic", "--force-fp32", "--use-pytorch-cross-attention", "--database-url", "sqlite:///:memory:",
)  # fmt: skip
ADDRESS = "ATELIER_NURSERY"
# A page that opens on the graph: no tour, no template browser.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.40.0",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
}


class Server(ComfyUI):
    """`Server("--lowvram")` adds flags to those of the tests; its folder is gone when it stops."""

    # The same sums in the same order on every machine, and no threads waiting for each other over tiny tensors.
    environment = {"OMP_NUM_THREADS": "1"}
    read_late: frozenset[str] = frozenset()  # what of it is read when it is needed: a fork may have its own

    def __init__(self, *flags: str) -> None:
        other_cache = any(flag.startswith("--cache-") for flag in flags)  # ComfyUI takes one of them only
        kept = [flag for flag in FLAGS if not (other_cache and flag.startswith("--cache-"))]
        super().__init__(Path(tempfile.mkdtemp(prefix="atelier-")), *kept, *flags)

    def launch(self, arguments: list[str]) -> subprocess.Popen[bytes] | Forked:
        """A fork where there is a nursery, unless the environment is its own: packages read theirs when imported."""
        read_early = {name: value for name, value in self.environment.items() if name not in self.read_late}
        if (forks := forks_of_this_process()) is None or read_early != Server.environment:
            return super().launch(arguments)
        return forks.start(arguments, whole_environment(self.environment), self.log_file)

    def make_base(self) -> None:
        super().make_base()
        self.add_stand_ins()
        user = self.base / "user" / "default"
        for name in ("workflows", "subgraphs"):  # the page lists both, and complains when they are not there
            (user / name).mkdir(parents=True)
        (user / "comfy.settings.json").write_text(json.dumps(SETTINGS))
        (user / "comfy.templates.json").write_text("[]")  # front end 1.59 asks for it

    def add_stand_ins(self) -> None:
        """The nodes and models that stand for real ones, and pictures."""
        self.add_pack("atelier_test_nodes", ROOT / "tests" / "test_nodes_pack")
        shutil.copytree(stand_ins(), self.base, dirs_exist_ok=True)
        for name, (_, folder) in all_files().items():  # so that the page finds the workflows' models
            file = self.base / "models" / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.base, ignore_errors=True)


@cache
def stand_ins() -> Path:
    """The models and pictures of every test server, made once: a second of a processor each time."""
    base = Path(tempfile.mkdtemp(prefix="atelier-stand-ins-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    for folder in ("models/ipadapter", "input"):
        (base / folder).mkdir(parents=True)
    write_adapters(base / "models" / "ipadapter")
    write_transformers(base / "models")
    write_photos(base / "input")
    write_inputs(base / "input")
    return base


def open_nursery() -> Nursery | None:
    """For the servers of this process and of those that it starts; None where forking is unsafe or unknown."""
    if sys.platform != "linux" or (host := find_comfyui()) is None:
        return None
    nursery = Nursery(host, whole_environment(Server.environment))
    os.environ[ADDRESS] = nursery.address
    return nursery


@cache
def forks_of_this_process() -> Forks | None:
    return Forks(os.environ[ADDRESS]) if ADDRESS in os.environ else None
