"""Download the missing files of a preset, or one file of a repository, into ComfyUI's model folders.

A workflow chooses among the files of `ipadapter/catalog.py`. Other files are downloaded only if the operator of the
server allows it by an environment variable, which no workflow can set.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import comfy.model_management
import comfy.utils
import folder_paths

from ...doctor.verdicts import Verdict, verdict
from ...encoders.face_models import half_pack
from ...ipadapter import catalog
from ...ipadapter.families import FAMILIES
from ...ipadapter.model_folders import model_folders
from ...ipadapter.presets import PRESETS
from ...ipadapter.published import Published
from ...model_files.errors import DownloadError
from ...model_files.packs import fetch_any
from ...model_files.remote import Wanted
from ..notices import say_on_node
from .face_packs import FOLDER, face_roots
from .places import forget_files, model_places

Order = tuple[Wanted, Path]  # a file, and the folder that it goes into
ALLOW_ANY = "ATELIER_FREE_DOWNLOADS"  # "1" in ComfyUI's environment: files that the catalog does not list, too
EVERY = 0.5  # seconds between two lines of progress on the node


def family_of(preset: str, family: str) -> str:
    """The family whose files of a preset are downloaded: the preset's only family, or else the chosen one."""
    known = list(PRESETS[preset].adapters)
    if family in known or len(known) == 1:
        return family if family in known else known[0]
    titles = " and ".join(FAMILIES[name].title for name in known)
    raise DownloadError(f"The preset {preset} exists for {titles} only. Choose one of these as family.")


def look_at(preset: str, family: str) -> Verdict:
    """The files that a unified loader would use for a preset, and those that are missing."""
    return verdict(preset, family, model_folders(model_places()), face_roots())


def order_of(file: Published) -> Order:
    """A published file, and the folder for it."""
    folder = face_roots()[-1] / "models" if file.folder == FOLDER else first_place(file.folder)
    return Wanted(**file.request), folder


def order_from(repository: str, path: str, folder: str) -> Order:
    """A file of a repository, and the folder for it; a file in the catalog has its name and folder from there.

    Raises:
        DownloadError: any other file, unless the server's environment allows it.
    """
    repository, path = repository.strip().strip("/"), path.strip().strip("/")
    if known := catalog.at(repository, path):
        return order_of(known)
    if os.environ.get(ALLOW_ANY) != "1":
        raise DownloadError(
            f"{path[:80]!r} of {repository[:80]!r} is not among the files that this pack knows, and others are not "
            "fetched on this server, so that a workflow from elsewhere cannot choose what is. If this is your server, "
            f"start ComfyUI with {ALLOW_ANY}=1 in its environment, or download the file into models/{folder} yourself."
        )
    return Wanted(PurePosixPath(path).name, repository, path), first_place(folder)


def first_place(folder: str) -> Path:
    """The path in which ComfyUI puts new files of a model folder: the first of the folder's paths."""
    return Path(folder_paths.get_folder_paths(folder)[0])


def fetch_all(orders: Sequence[Order]) -> list[Path]:
    """Download files one after another, with the node's progress and interruption; returns their paths."""
    paths = []
    for number, (wanted, folder) in enumerate(orders, start=1):
        folder.mkdir(parents=True, exist_ok=True)
        if wanted.zipped and (fault := half_pack(wanted.name, folder.parent)):
            raise DownloadError(fault)
        paths.append(fetch_any(wanted, folder, Progress(f"{wanted.name} ({number} of {len(orders)})")))
        forget_files()
    return paths


class Progress:
    """Called for every piece of a file: moves the node's bar, writes a line twice a second, stops on an interrupt."""

    def __init__(self, title: str) -> None:
        self.title, self.said = title, 0.0
        self.bar = comfy.utils.ProgressBar(1)

    def __call__(self, done: int, whole: int | None) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(done, whole or max(done, 1))
        if time.monotonic() - self.said >= EVERY or done == whole:
            self.said = time.monotonic()
            of = f" of {whole / 1e6:.0f}" if whole else ""
            say_on_node(f"{self.title}: {done / 1e6:.0f}{of} MB")
