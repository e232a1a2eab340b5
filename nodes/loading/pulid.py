"""PuLID's files on the disk: adapters, the EVA-CLIP encoder and the face parser."""

from collections.abc import Hashable
from pathlib import Path

from ...encoders.face_parsing import FaceParser
from ...ipadapter.catalog import BY_NAME, FACE_PARSER
from ...ipadapter.checkpoint import read_file
from ...ipadapter.errors import AdapterError
from ...ipadapter.model_folders import ModelFolder, model_folder
from ...ipadapter.search import EVA_FOLDERS, find_eva
from ...ipadapter.shared_files import SharedFiles, fingerprint
from .adapters import LoadedAdapter, load_adapter
from .files import listed_path
from .openclip import OpenClipVision, load_openclip
from .places import model_places
from .search import folders

FOLDERS = PULID, PARSERS = "pulid", BY_NAME[FACE_PARSER].folder  # folders of other packs, which need not be installed
NO_PARSER = (
    "No face parser: background, ears and clothes stay in the picture that the vision encoder sees, in grey. To show "
    f"it face and hair alone, as PuLID was trained, put {FACE_PARSER} of {BY_NAME[FACE_PARSER].source} into "
    f"models/{PARSERS}, or connect a face_mask."
)
_files = SharedFiles()


def pulid_files() -> list[str]:
    """The names of the files in models/pulid."""
    return sorted(_folder(PULID).files)


def pulid_path(name: str) -> Path:
    """The path of a listed file."""
    folder = _folder(PULID)
    if path := listed_path(folder, name):
        return path
    places = " or ".join(map(str, folder.places)) or "models/pulid"
    raise FileNotFoundError(
        f"No file {name!r:.80} in {places}. Choose another, or get PuLID's by an IPAdapter Model Download: preset "
        "PULID or PULID FLUX."
    )


def _folder(name: str) -> ModelFolder:
    return model_folder(model_places(), name)


def load_pulid(name: str, flux: bool) -> LoadedAdapter:
    """The PuLID of a file; AdapterError for a file that is another adapter, or a PuLID for other models."""
    adapter = load_adapter(pulid_path(name))
    wanted, other = ("Flux", "Load PuLID Model") if flux else ("SDXL", "Load PuLID Flux Model")
    if not adapter.config.is_pulid or (adapter.config.family == "flux") != flux:
        advice = f"; load it with {other}" if adapter.config.is_pulid else ""
        raise AdapterError(
            f"{name} is {adapter.config.variant} for {adapter.config.family}, and this node loads PuLID for {wanted}"
            f"{advice}."
        )
    return adapter


def eva_path() -> Path:
    """The path of the EVA02-CLIP L 336 encoder in any folder of encoders."""
    return find_eva(folders(*EVA_FOLDERS))


def load_eva() -> OpenClipVision:
    """The EVA02-CLIP L 336 encoder; an encoder that is still in use is shared."""
    path = eva_path()
    return _files.get_or_open(path, lambda: load_openclip(path, "auto", "auto", "auto", "auto"))


def parser_path() -> Path | None:
    """The path of facexlib's face parser; None if it is not in models/facexlib."""
    return next((path for path in _folder(PARSERS).files.values() if path.name == FACE_PARSER), None)


def fingerprint_of_parser() -> Hashable:
    """A value that changes when the face parser is added, removed or replaced."""
    path = parser_path()
    return None if path is None else fingerprint(path)


def load_parser(path: Path) -> FaceParser:
    return FaceParser.from_tensors(read_file(path)[0], path.name)


def fingerprint_of_eva() -> Hashable:
    """A value that changes when the encoder's file is added, removed or replaced."""
    try:
        return fingerprint(eva_path())
    except FileNotFoundError:
        return None
