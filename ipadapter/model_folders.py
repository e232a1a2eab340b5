"""The model folders that adapters, encoders and LoRAs are searched in, and the files that lie in them.

Loaders, doctor and terminal list files with this module alone, so all three see the same files.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .published import FOLDERS

ADAPTERS, ENCODERS, LORAS = FOLDERS["adapter"], FOLDERS["encoder"], FOLDERS["lora"]
SUFFIXES = (".safetensors", ".sft", ".bin", ".ckpt", ".pt", ".pt2", ".pth", ".pkl")  # those that ComfyUI lists
Places = Mapping[str, Sequence[Path]]  # folders on the disk, by ComfyUI's name of a model folder


@dataclass(frozen=True)
class OtherFolder:
    """A model folder in which another pack or ComfyUI-Manager keeps adapters."""

    name: str  # by which that pack registers it with ComfyUI
    path: str  # below ComfyUI's models, also where that pack is not installed
    file_names: str = ""  # regular expression of an adapter's name, where other models lie in the folder too


OTHER_FOLDERS = (
    OtherFolder("ipadapter-flux", "ipadapter-flux"),
    OtherFolder("xlabs_ipadapters", "xlabs/ipadapters"),
    OtherFolder("instantid", "instantid"),
    OtherFolder("pulid", "pulid"),
    OtherFolder("controlnet", "controlnet", r"ip.?adapter"),  # Fooocus puts its adapters there
)


@dataclass(frozen=True)
class ModelFolder:
    """A model folder of ComfyUI's: the places on the disk that it stands for, and the files by their listed names."""

    places: Sequence[Path]
    files: Mapping[str, Path]


ModelFolders = Mapping[str, ModelFolder]  # by ComfyUI's name of the folder


def with_other_folders(places: Places, models: Path) -> dict[str, list[Path]]:
    """The places, with those of OTHER_FOLDERS that are on the disk below ComfyUI's `models`."""
    found = {name: list(folders) for name, folders in places.items()}
    for other in OTHER_FOLDERS:
        named = found.get(other.name, [])
        if (default := models / other.path) not in named and default.is_dir():
            found[other.name] = [*named, default]
    return found


def model_folder(places: Places, folder: str) -> ModelFolder:
    """The files of a model folder; of two files of a name the first counts, as in ComfyUI.

    A file of OTHER_FOLDERS is an adapter file too, under that folder's path and its own name:
    `xlabs/ipadapters/ip_adapter.safetensors`. Folders, pipes, links to no file and macOS' `._` files are left out.
    """
    files: dict[str, Path] = {}
    for path, name in walk(places.get(folder, ())):
        files.setdefault(name, path)
    for other in OTHER_FOLDERS if folder == ADAPTERS else ():
        for path, name in walk(places.get(other.name, ())):
            if re.search(other.file_names, path.name, re.IGNORECASE):
                files.setdefault(str(Path(other.path, name)), path)
    return ModelFolder(list(places.get(folder, ())), {name: path for name, path in files.items() if path.is_file()})


def model_folders(places: Places) -> dict[str, ModelFolder]:
    """The three folders that presets are searched in."""
    return {folder: model_folder(places, folder) for folder in (ADAPTERS, ENCODERS, LORAS)}


def walk(places: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Paths, and names below their place, of model files: through subfolders and links, each real folder once."""
    for place in places:
        entered: set[str] = set()
        for folder, inner, files in os.walk(place, followlinks=True):
            if (real := os.path.realpath(folder)) in entered:
                inner.clear()  # a link that leads back
                continue
            entered.add(real)
            inner[:] = sorted(name for name in inner if name != ".git")
            for name in sorted(files):
                if name.lower().endswith(SUFFIXES) and not name.startswith("._"):
                    path = Path(folder, name)
                    yield path, str(path.relative_to(place))
