"""Names of files: those that come from outside are checked here, and published names are read here."""

import re
from pathlib import Path, PurePath

import torch

from .errors import FileNameError

LONGEST_PART, LONGEST = 255, 1000  # bytes that file systems take
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def inside(folder: Path, name: str, plain: bool = False) -> Path:
    """Where a name lies below a folder; `plain` names lie in the folder itself.

    FileNameError for absolute names, names that lead out of the folder, and those that no file can have. Links below
    the folder are the owner's own and are followed.
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
    return folder.joinpath(*parts)  # on every system, though the name may come from another one


# File names that many repositories use, so that the folder alone says what the file is.
SHARED_NAMES = {"ip adapter", "model", "pytorch model", "diffusion pytorch model"}


def words_of(name: str) -> str:
    """A name in small letters with one space between its words, whatever stood there: dots, dashes, folders."""
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))


def name_with_folder(path: Path) -> str:
    """A file's name, with its folder's before it where many files have that name: `instantid/ip-adapter.bin`."""
    return f"{path.parent.name}/{path.name}" if words_of(path.stem) in SHARED_NAMES else path.name


def variant_by_name(variant: str, family: str, dtype: torch.dtype, name: str) -> str:
    """The published variant, where files with other purposes have the tensors of `variant` and only names tell.

    InstantID's tensors are those of FaceID portrait unnorm for SDXL; it is published in 32 bits, the other in 16.
    """
    words, own = words_of(name), words_of(PurePath(name.replace("\\", "/")).stem)
    match variant:
        case "standard" if re.search(r"light(?!ning)", words):
            return "light"
        case "plus" | "SDXL plus" if "composition" in words:
            return "composition"
        case "plus" | "SDXL plus" if re.search(r"plus ?face", words):
            return "plus face"
        case "FaceID portrait unnorm" if family == "sdxl" and not re.search("portrait|unnorm", words):
            named = own == "ip adapter" or re.search(r"instant ?id", words)
            return "InstantID" if named or dtype == torch.float32 else variant
    return variant
