"""Check file names from users and files, and read variants from published file names."""

import re
from pathlib import Path, PurePath

import torch

from .errors import FileNameError
from .published import ART, NOOBAI_STYLE

LONGEST_PART, LONGEST = 255, 1000  # bytes: limits of file systems for a part of a path, and for a path
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def inside(folder: Path, name: str, plain: bool = False) -> Path:
    """The path of a name below a folder; a `plain` name must lie directly in it.

    Links below the folder are followed, since its owner created them.

    Raises:
        FileNameError: the name is absolute, leads out of the folder, or cannot be the name of a file.
    """
    parts = re.split(r"[/\\]", name) if isinstance(name, str) else []
    quoted = f"{name!r:.80}"
    if not parts or parts[-1].strip() in ("", "."):
        raise FileNameError(f"{quoted} is no file name. Choose a name inside {folder}.")
    if ".." in parts or not parts[0] or _DRIVE.match(name) or (plain and len(parts) > 1):
        raise FileNameError(f"{quoted} leads out of {folder}. Choose a name inside that folder.")
    sizes = [len(part.encode(errors="replace")) for part in parts]
    if _CONTROL.search(name) or max(sizes) > LONGEST_PART or sum(sizes) + len(sizes) > LONGEST:
        raise FileNameError(
            f"{quoted} cannot be a file's name: at most {LONGEST_PART} bytes a part, and no control characters. Choose "
            f"another name inside {folder}."
        )
    return folder.joinpath(*parts)  # both / and \ separate parts, whatever the system


# File names that many repositories use, so that only the folder's name identifies the file.
SHARED_NAMES = {"ip adapter", "model", "pytorch model", "diffusion pytorch model"}
INSTANTID = re.compile("instant ?id")  # in the words of a name


def words_of(name: str) -> str:
    """A name in lower case, with a space in place of every run of characters other than letters and digits."""
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))


def name_with_folder(path: Path) -> str:
    """A file's name, with its folder before it if that tells what the file is: `instantid/ip-adapter.bin`.

    Folders tell of SHARED_NAMES, and the folder of InstantID (or the one above, of `instantid/SDXL`) of every file.
    """
    for folder in path.parents[:2]:
        if INSTANTID.search(words_of(folder.name)):
            return path.relative_to(folder.parent).as_posix()
    return f"{path.parent.name}/{path.name}" if words_of(path.stem) in SHARED_NAMES else path.name


def variant_by_name(variant: str, family: str, dtype: torch.dtype, name: str) -> str:
    """The published variant of a file with the tensors of `variant`: by its name, if several variants have them.

    InstantID and FaceID portrait unnorm for SDXL have equal tensors; InstantID is published in float32, the other in
    float16.
    """
    words, own = words_of(name), words_of(PurePath(name.replace("\\", "/")).stem)
    match variant:
        case "SDXL" if re.search(r"style ?ip ?adapter ?for", words):
            return NOOBAI_STYLE
        case "SDXL" if re.search(r"ip ?adapter ?art\b", words):
            return ART
        case "standard" if re.search(r"light(?!ning)", words):
            return "light"
        case "plus" | "SDXL plus" if "composition" in words:
            return "composition"
        case "plus" | "SDXL plus" if re.search(r"plus ?face", words):
            return "plus face"
        case "FaceID portrait unnorm" if family == "sdxl" and not re.search("portrait|unnorm", words):
            named = own == "ip adapter" or INSTANTID.search(words)
            return "InstantID" if named or dtype == torch.float32 else variant
    return variant
