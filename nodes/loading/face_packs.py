"""Face packs on the disk: their folders, their names, and loading one."""

from collections.abc import Hashable
from pathlib import Path

import folder_paths

from ...encoders.face_models import fallback_note, find_complete_pack, find_pack, load_pack, pack_fault
from ...encoders.faces import pack_name
from ...ipadapter.catalog import ADAPTERS, FACE_PACKS
from ...ipadapter.errors import FaceError
from ...ipadapter.shared_files import fingerprint
from ..host_types import FaceAnalysis
from ..notices import say_notes, say_on_node

FOLDER = "insightface"
KNOWN_PACKS = tuple(dict.fromkeys(file.face_pack for file in ADAPTERS if file.face_pack))  # adapters need them


def face_roots() -> list[Path]:
    """The folders that contain models/<pack>: those of the user's extra model paths, then ComfyUI's own."""
    named = folder_paths.folder_names_and_paths.get(FOLDER, ((), set()))[0]
    return list(dict.fromkeys([*(Path(folder) for folder in named), Path(folder_paths.models_dir) / FOLDER]))


def pack_names() -> list[str]:
    """The packs that workflows name, then every other folder in the face roots."""
    found = {path.name for root in face_roots() for path in root.glob("models/[!.]*") if path.is_dir()}
    return [*KNOWN_PACKS, *sorted(found - set(KNOWN_PACKS))]


def fingerprint_of_packs() -> Hashable:
    """A value that changes when a network of any pack is added, removed or replaced."""
    depths = ("models/[!.]*/*.onnx", "models/[!.]*/*/*.onnx")  # the zips of some packs contain a folder
    files = (file for root in face_roots() for depth in depths for file in sorted(root.glob(depth)))
    return tuple(fingerprint(file) for file in files if file.is_file())  # leaves out broken links


def load_face_models(provider: str = "CPU", model_name: str = "buffalo_l", complete: bool = False) -> FaceAnalysis:
    """The insightface FaceAnalysis of a pack by name; a note on the node says if the provider or a network is missing.

    A detector alone can crop faces. With `complete`, a pack without recogniser raises FaceError.
    """
    folder = (find_complete_pack if complete else find_pack)(model_name, face_roots())
    faces = load_pack(folder, provider)
    if notes := [note for note in (fallback_note(provider), pack_fault(folder)) if note]:
        say_on_node("\n".join(notes))
    return faces


def check_pack(analysis: FaceAnalysis, trained: str, adapter: str) -> None:
    """Compare a connected pack with `trained`, the pack whose recogniser an adapter was trained with.

    A note says so if the name of the pack is unknown. Raises FaceError for a published pack with another recogniser.
    """
    name = pack_name(analysis)
    if name == trained:
        return
    if any(pack.name == name for pack in FACE_PACKS):
        raise FaceError(
            f"The face pack is {name}, and {adapter} was trained with {trained}: it takes another pack's numbers for "
            f"other faces. Load {trained}, in models/insightface/models/{trained}."
        )
    which = name or "this one has no name"
    say_notes([
        f"{adapter} was trained with the face pack {trained} and takes the numbers of others ({which}) for other faces."
    ])  # fmt: skip
