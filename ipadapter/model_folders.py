"""List the files of adapters, encoders and LoRAs in the model folders.

Loaders, doctor and terminal list files with this module only, so that they agree.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .published import FOLDERS

ADAPTERS, ENCODERS, LORAS = FOLDERS["adapter"], FOLDERS["encoder"], FOLDERS["lora"]
SUFFIXES = (".safetensors", ".sft", ".bin", ".ckpt", ".pt", ".pt2", ".pth", ".pkl")  # suffixes that ComfyUI lists
Places = Mapping[str, Sequence[Path]]  # folders on the disk, by ComfyUI's name of a model folder


@dataclass(frozen=True)
class OtherFolder:
    """A model folder of another pack or ComfyUI-Manager with adapters in it."""

    name: str  # ComfyUI's name of the folder, under which the other pack registers it
    path: str  # below ComfyUI's models; searched even if the other pack is not installed
    file_names: str = ""  # regular expression of adapters' file names, for a folder with other models too

    def lists(self, path: Path) -> bool:
        """Whether the loaders list a file of this folder."""
        return re.search(self.file_names, path.name, re.IGNORECASE) is not None


OTHER_FOLDERS = (
    OtherFolder("ipadapter-flux", "ipadapter-flux"),
    OtherFolder("xlabs_ipadapters", "xlabs/ipadapters"),
    OtherFolder("instantid", "instantid"),
    OtherFolder("pulid", "pulid"),
    OtherFolder("controlnet", "controlnet", r"ip.?adapter"),  # Fooocus puts its adapters there
)


@dataclass(frozen=True)
class ModelFolder:
    """A model folder of ComfyUI: its folders on the disk, and its files by the names in lists."""

    places: Sequence[Path]
    files: Mapping[str, Path]


ModelFolders = Mapping[str, ModelFolder]  # by ComfyUI's name of the folder


def with_other_folders(places: Places, models: Path) -> dict[str, list[Path]]:
    """A copy of `places`, with the OTHER_FOLDERS that exist below ComfyUI's `models`."""
    found = {name: list(folders) for name, folders in places.items()}
    for other in OTHER_FOLDERS:
        named = found.get(other.name, [])
        if (default := models / other.path) not in named and default.is_dir():
            found[other.name] = [*named, default]
    return found


def model_folder(places: Places, folder: str) -> ModelFolder:
    """The files of a model folder by name; of two files with the same name the first is listed, as in ComfyUI.

    The folder of adapters also lists the files of OTHER_FOLDERS, with the other folder's path in their names:
    `xlabs/ipadapters/ip_adapter.safetensors`. Folders, pipes, broken links and macOS' `._` files are left out.
    """
    files: dict[str, Path] = {}
    for path, name in walk(places.get(folder, ())):
        files.setdefault(name, path)
    for other in OTHER_FOLDERS if folder == ADAPTERS else ():
        for path, name in walk(places.get(other.name, ())):
            if other.lists(path):
                files.setdefault(str(Path(other.path, name)), path)
    return ModelFolder(list(places.get(folder, ())), {name: path for name, path in files.items() if path.is_file()})


def listed_file(files: Mapping[str, Path], name: str) -> Path | None:
    """The path of a listed name, which a workflow may have from a system with another separator; None if not listed."""
    spellings = (name, name.replace("\\", "/"), name.replace("/", "\\"))
    return next((files[spelling] for spelling in spellings if spelling in files), None)


def model_folders(places: Places) -> dict[str, ModelFolder]:
    """The folders in which presets find their files, and those of the files that work with them."""
    return {folder: model_folder(places, folder) for folder in dict.fromkeys([*FOLDERS.values(), "text_encoders"])}


def walk(places: Iterable[Path], suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[tuple[Path, str]]:
    """Yield (path, name below its folder) of all files with these suffixes, by default all model files.

    It goes through subfolders and links, and enters each folder once.
    """
    for place in places:
        entered: set[str] = set()
        for folder, inner, files in os.walk(place, followlinks=True):
            if (real := os.path.realpath(folder)) in entered:
                inner.clear()  # a link to a folder that was entered before
                continue
            entered.add(real)
            inner[:] = sorted(name for name in inner if name != ".git")
            for name in sorted(files):
                if name.lower().endswith(suffixes) and not name.startswith("._"):
                    path = Path(folder, name)
                    yield path, str(path.relative_to(place))
