"""PuLID's files on the disk: adapters, the EVA-CLIP encoder and the face parser."""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from ...encoders.face_parsing import FaceParser
from ...ipadapter.checkpoint import read_file
from ...ipadapter.errors import AdapterError
from ...ipadapter.model_folders import ModelFolder, model_folder
from ...ipadapter.names import inside
from ...ipadapter.peek import peek
from ...ipadapter.shared_files import SharedFiles, fingerprint
from .adapters import LoadedAdapter, load_adapter
from .openclip import OpenClipVision, load_openclip
from .places import model_places

FOLDERS = PULID, PARSERS = "pulid", "facexlib"  # model folders of other packs, which need not be installed
PARSER = "parsing_bisenet.pth"
EVA_FOLDERS = ("clip_vision", "open_clip", "text_encoders")  # ComfyUI counts models/clip to the last
EVA_FILE = "EVA02_CLIP_L_336_psz14_s6B.pt"
EVA_SHAPES = {  # shapes by which the encoder is recognised, with its authors' names or timm's
    r"visual\.(trunk\.)?pos_embed": (1, 577, 1024),
    r"visual\.(trunk\.)?head\.weight": (768, 1024),
    r"visual\.(trunk\.)?blocks\.23\.attn\.q_proj\.weight": (1024, 1024),
}
NO_PARSER = (
    f"No face parser: background, ears and clothes stay in the picture that the vision encoder sees, in grey. With "
    f"{PARSER} (facexlib's release v0.2.0 on GitHub, MIT, trained on CelebAMask-HQ for non-commercial research) in "
    f"models/{PARSERS}, or with a face_mask, it sees face and hair alone, as PuLID was trained."
)
_files = SharedFiles()


def pulid_files() -> list[str]:
    """The names of the files in models/pulid."""
    return sorted(_folder(PULID).files)


def pulid_path(name: str) -> Path:
    """The path of a listed file."""
    folder = _folder(PULID)
    for place in folder.places:
        inside(place, name)  # raises for names that lead out of the folder
    for listed in (name, name.replace("\\", "/"), name.replace("/", "\\")):  # of workflows from another system
        if path := folder.files.get(listed):
            return path
    raise FileNotFoundError(f"No file {name!r:.80} in {' or '.join(map(str, folder.places)) or 'models/pulid'}.")


def _folder(name: str) -> ModelFolder:
    return model_folder(model_places(), name)


def load_pulid(name: str, flux: bool) -> LoadedAdapter:
    """The PuLID of a file; AdapterError for a file that is another adapter, or a PuLID for other models."""
    adapter = load_adapter(pulid_path(name))
    wanted, other = ("Flux", "Load PuLID Model") if flux else ("SDXL", "Load PuLID Flux Model")
    if not adapter.config.of_identity or (adapter.config.family == "flux") != flux:
        is_pulid = f"; load it with {other}" if adapter.config.of_identity else ""
        raise AdapterError(
            f"{name} is {adapter.config.variant} for {adapter.config.family}, and this node loads PuLID for {wanted}"
            f"{is_pulid}."
        )
    return adapter


def find_eva() -> Path:
    """The path of the EVA02-CLIP L 336 encoder in any folder of encoders, recognised by its tensors.

    Files with its name are read first.
    """
    paths = [path for folder in EVA_FOLDERS for path in _folder(folder).files.values()]
    paths.sort(key=lambda path: re.search("eva", str(path), re.IGNORECASE) is None)
    found = next((path for path in paths if is_eva(peek(path))), None)
    if found is None:
        raise FileNotFoundError(
            f"No EVA02-CLIP L 336 encoder in models/clip_vision, models/open_clip or models/clip: put {EVA_FILE} "
            "there, from huggingface.co/QuanSun/EVA-CLIP (MIT), or the file open_clip_model.safetensors of "
            "huggingface.co/timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k (MIT)."
        )
    return found


def is_eva(tensors: Mapping[str, Any]) -> bool:
    """Whether tensors are those of the EVA02-CLIP L 336 encoder."""
    shapes = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in tensors.items()}
    return all(
        any(re.fullmatch(name, found) and shape == has for found, has in shapes.items())
        for name, shape in EVA_SHAPES.items()
    )


def load_eva() -> OpenClipVision:
    """The EVA02-CLIP L 336 encoder; an encoder that is still in use is shared."""
    path = find_eva()
    return _files.get_or_open(path, lambda: load_openclip(path, "auto", "auto", "auto", "auto"))


def find_parser() -> FaceParser | None:
    """facexlib's face parser; None if its file is not in models/facexlib."""
    path = next((path for path in _folder(PARSERS).files.values() if path.name == PARSER), None)
    if path is None:
        return None
    return _files.get_or_open(path, lambda: FaceParser.from_tensors(read_file(path)[0], path.name))


def fingerprint_of_eva() -> Hashable:
    """A value that changes when the encoder's file is added, removed or replaced."""
    try:
        return fingerprint(find_eva())
    except FileNotFoundError:
        return None
