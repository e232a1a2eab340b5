"""Where embeds are kept: saved in ComfyUI's output folder, found again there and in its input folder."""

from pathlib import Path

import folder_paths
from torch import Tensor

from ...ipadapter.embeds_file import SUFFIX, SUFFIXES, save_embeds

Index = tuple[list[str], dict[str, float]]  # files by their path below a folder; when each folder below changed
_INDEX: dict[str, Index] = {}
OUTPUT_MARK = " [output]"  # ComfyUI's own way to say that a listed file lies in the output folder


def saved_embeds() -> list[str]:
    """Every embeds file, those of the input folder first; folders are only walked again when something changed."""
    inputs = _files_below(folder_paths.get_input_directory())
    outputs = _files_below(folder_paths.get_output_directory())
    return inputs + [name + OUTPUT_MARK for name in outputs]


def embeds_path(name: str) -> Path:
    """The file of a listed name.

    Raises:
        ValueError: the name leads out of its folder.
        FileNotFoundError: there is no such file (any more).
    """
    in_output = name.endswith(OUTPUT_MARK)
    folder = folder_paths.get_output_directory() if in_output else folder_paths.get_input_directory()
    path = _inside(Path(folder), name.removesuffix(OUTPUT_MARK))
    if not path.is_file():
        raise FileNotFoundError(f"There is no embeds file {path}. Refresh the node's list and choose another one.")
    return path


def save_numbered(embeds: Tensor, prefix: str) -> str:
    """Save under the next free number and give the name that a loader lists it under."""
    root = Path(folder_paths.get_output_directory())
    _inside(root, prefix)
    folder, name, number, _, _ = folder_paths.get_save_image_path(prefix, str(root))
    path = Path(folder) / f"{name}_{number:05}_{SUFFIX}"
    save_embeds(embeds, path)
    return path.relative_to(root).as_posix() + OUTPUT_MARK


def _inside(root: Path, name: str) -> Path:
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"{name!r} leads out of {root}. Choose a name inside that folder.")
    return path


def _files_below(folder: str) -> list[str]:
    files, changed = _INDEX.get(folder, ([], {}))
    if not changed or any(_changed_at(part) != when for part, when in changed.items()):
        found, changed = folder_paths.recursive_search(folder)
        files = sorted(Path(name).as_posix() for name in found if name.endswith(SUFFIXES))
        _INDEX[folder] = files, changed
    return files


def _changed_at(folder: str) -> float | None:
    path = Path(folder)
    return path.stat().st_mtime if path.is_dir() else None
