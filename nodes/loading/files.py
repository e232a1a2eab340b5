"""The model folders that this pack registers in ComfyUI, and the adapter files in them."""

from collections.abc import Callable, Hashable
from pathlib import Path

import folder_paths

from ...ipadapter.model_folders import ADAPTERS, ModelFolder, listed_file, model_folder
from ...ipadapter.names import inside
from ...ipadapter.shared_files import fingerprint
from .places import model_places


def register_folder(name: str) -> None:
    """Register `models/<name>` in ComfyUI, in addition to the folders of the user's extra model paths."""
    default = str(Path(folder_paths.models_dir) / name)
    folders, extensions = folder_paths.folder_names_and_paths.get(name, ([], set()))
    present = folders if default in folders else [*folders, default]
    folder_paths.folder_names_and_paths[name] = (present, set(extensions) | folder_paths.supported_pt_extensions)


def adapter_files() -> list[str]:
    """The names of all adapter files; names from folders of other packs begin with the folder's name."""
    return sorted(_folder().files)


def adapter_path(name: str) -> Path:
    """The path of a listed adapter file; FileNotFoundError names the folders that were searched."""
    folder = _folder()
    if path := listed_path(folder, name):
        return path
    raise FileNotFoundError(
        f"No adapter {name!r:.80} in {' or '.join(map(str, folder.places))}. Put the file there, or choose another."
    )


def listed_path(folder: ModelFolder, name: str) -> Path | None:
    """The path of a file of a folder; None if it is not listed. FileNameError for names that lead out of the folder."""
    for place in folder.places:
        inside(place, name)
    return listed_file(folder.files, name)


def check_name(find: Callable[[str], Path], name: str | None) -> bool | str:
    """The answer of a loader's `validate_inputs`: True, or what `find` says is wrong with a name; None is from a link.

    A name from another system, with \\ for / or the reverse, is good, which ComfyUI's own comparison would refuse.
    """
    try:
        return name is None or bool(find(name))
    except (FileNotFoundError, ValueError) as error:
        return str(error)


def fingerprint_of(find: Callable[[str], Path], name: str | None) -> Hashable:
    """The answer of a loader's `fingerprint_inputs`: that of the file `find` gives for a name; None is from a link."""
    return None if name is None else fingerprint(find(name))


def model_file(folder: str, name: str) -> Path | None:
    """The path of a regular file in any path of a model folder; None if there is no such file."""
    paths = (inside(Path(place), name) for place in folder_paths.get_folder_paths(folder))
    return next((path for path in paths if path.is_file()), None)


def _folder() -> ModelFolder:
    return model_folder(model_places(), ADAPTERS)
