"""Load a face pack (a folder of ONNX networks) with insightface, from the disk and without downloads."""

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..ipadapter.catalog import FACE_PACKS
from ..ipadapter.errors import FaceError
from ..ipadapter.names import inside
from ..ipadapter.shared_files import SharedFiles, fingerprint
from .onnx_files import network_role

logger = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
PROVIDERS = {  # name in the user interface -> onnxruntime's names; the first that onnxruntime offers is used
    "CPU": (CPU,),
    "CUDA": ("CUDAExecutionProvider",),
    "ROCM": ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),  # onnxruntime 1.23 dropped the latter
    "DirectML": ("DmlExecutionProvider",),
    "OpenVINO": ("OpenVINOExecutionProvider",),
    "CoreML": ("CoreMLExecutionProvider",),
}
PROVIDER_PACKAGES = {
    "CPU": "onnxruntime",
    "CUDA": "onnxruntime-gpu",
    "ROCM": "onnxruntime-migraphx",
    "DirectML": "onnxruntime-directml",
    "OpenVINO": "onnxruntime-openvino",
    "CoreML": "onnxruntime",
}
ROLES = {"detection": "detector", "recognition": "recogniser"}  # networks of a complete pack: role -> word in messages
_packs = SharedFiles()


def import_face_module(name: str) -> ModuleType:
    """Import a module of insightface, onnxruntime or cv2.

    A broken package (onnxruntime without its libraries, or built for another numpy) may raise any exception, whose
    message becomes part of the FaceError.

    Raises:
        FaceError: the module is missing or broken; the message has the cause and what to install.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FaceError(
            f"{name} cannot be imported because the Python package {error.name!r} is missing. "
            "Install what faces need into ComfyUI's Python: pip install insightface onnxruntime"
        ) from error
    except Exception as error:  # a broken binary may raise any exception; its message helps the user
        raise FaceError(
            f"{name} is installed but fails to import: {type(error).__name__}: {error}. "
            "Reinstall it for this Python and this numpy: pip install --force-reinstall insightface onnxruntime"
        ) from error


def choose_providers(wished: str, available: Sequence[str]) -> list[str]:
    """onnxruntime's names for a provider of the user interface, best first.

    The CPU always comes last. It runs operations that the provider does not support, or all operations where
    onnxruntime does not offer the provider.

    Raises:
        FaceError: `wished` is no key of PROVIDERS.
    """
    if wished not in PROVIDERS:
        raise FaceError(f"Unknown provider {wished!r}: expected one of {', '.join(PROVIDERS)}.")
    return list(dict.fromkeys([*(name for name in PROVIDERS[wished] if name in available)][:1] + [CPU]))


def fallback_note(wished: str, available: Sequence[str] | None = None) -> str | None:
    """The message for a user whose chosen provider is not offered, so that faces run on the CPU; None if it is offered.

    `available` are the providers that onnxruntime offers; by default, those of the installed onnxruntime.
    """
    offered = import_face_module("onnxruntime").get_available_providers() if available is None else available
    if choose_providers(wished, offered)[0] in PROVIDERS[wished]:
        return None
    return (
        f"Faces run on the CPU: the installed onnxruntime does not offer {wished} ({' or '.join(PROVIDERS[wished])}). "
        f"For {wished}, install {PROVIDER_PACKAGES[wished]} in its place; the CPU takes a fraction of a second more."
    )


def find_pack(name: str, roots: Sequence[Path]) -> Path:
    """The folder with a pack's .onnx files: <root>/models/<name>, or <root>/models/<name>/<name> as some zips unpack.

    A folder with detector and recogniser comes before a folder that lacks either; `pack_fault` names what it lacks.

    Raises:
        FileNotFoundError: no such folder has .onnx files; the message names the folder to create, the pack's source
            and licence, and files that lie in the wrong folder or are still zipped.
        FileNameError: `name` is not the name of a single folder.
    """
    folders = [inside(root / "models", name, plain=True) for root in roots]
    candidates = [each for folder in folders for each in (folder, folder / name) if any(each.glob("*.onnx"))]
    if candidates:
        return next((folder for folder in candidates if pack_fault(folder) is None), candidates[0])
    found = sorted({path.parent.name for root in roots for path in root.glob("models/*/*.onnx")})
    raise FileNotFoundError(
        f"No face pack {name!r}: expected .onnx files in {' or '.join(map(str, folders))}. {misplaced(name, roots)}"
        f"Get it from {_source_of(name)}. Packs found: {', '.join(found) or 'none'}. Nothing is downloaded for you."
    )


def find_complete_pack(name: str, roots: Sequence[Path]) -> Path:
    """The folder of `find_pack`, whose networks include a detector and a recogniser, as FaceID adapters need.

    Raises:
        FileNotFoundError, FileNameError: as in `find_pack`.
        FaceError: the pack lacks a network; the message is `pack_fault`'s, with misplaced files of the pack.
    """
    folder = find_pack(name, roots)
    if fault := pack_fault(folder):
        raise FaceError(f"{fault} {misplaced(name, roots)}".rstrip())
    return folder


def half_pack(name: str, root: Path) -> str:
    """The message for a download of a pack that is in a root and lacks a network; "" for a complete pack and none."""
    try:
        find_complete_pack(name, [root])
    except FileNotFoundError:
        return ""
    except FaceError as error:
        return f"{error} To get all of it here, remove its folder first."
    return ""


def pack_fault(folder: Path) -> str | None:
    """The message for a user whose pack lacks a network that FaceID needs, and what to do; None for a complete pack.

    FaceID needs a detector and a recogniser. A pack with a detector alone can still crop faces.
    """
    files = sorted(folder.glob("*.onnx"))
    roles = {file.name: network_role(file) for file in files}
    damaged = [name for name, role in roles.items() if role is None]
    missing = [title for role, title in ROLES.items() if role not in roles.values()]
    if not missing:
        return None
    harm = f", and {' and '.join(damaged)} cannot be read" if damaged else ""
    return (
        f"The face pack {folder} has no {' and no '.join(missing)}{harm}; its files: {', '.join(roles) or 'none'}. Put "
        f"all files of the pack into that folder, from {_source_of(folder.name)}."
    )


def misplaced(name: str, roots: Sequence[Path]) -> str:
    """Sentences that say what to do with a pack's zips and with .onnx files that lie outside of every pack's folder.

    A space ends each sentence, since more text follows; "" without such files.
    """
    text = ""
    for root in roots:
        target = root / "models" / name
        for path in packed(root):
            if path.name.startswith(name):
                text += f"{path} is still packed: unpack it into {target}. "
        for folder in dict.fromkeys((root, root / "models", root / name)):
            if loose := loose_networks(folder):
                names = ", ".join(path.name for path in loose)
                text += f"{folder} itself holds {names}: move what is of this pack into {target}. "
    return text


def packed(root: Path) -> list[Path]:
    """The zips in a root, in its `models` and in the packs' folders."""
    return [path for depth in ("*.zip", "models/*.zip", "models/*/*.zip") for path in sorted(root.glob(depth))]


def loose_networks(folder: Path) -> list[Path]:
    """The detectors, recognisers and damaged networks of a folder that is no pack's.

    Networks for other purposes may lie there: other packs keep face swappers in models/insightface.
    """
    return [path for path in sorted(folder.glob("*.onnx")) if network_role(path) != "other"]


def _source_of(name: str) -> str:
    published = next((pack for pack in FACE_PACKS if pack.name == name), None)
    if published is None:
        return "wherever you have it from, with the licence it has there"
    return f"the file {published.path} of {published.source}" if published.path else str(published.source)


def load_pack(folder: Path, provider: str) -> Any:
    """A prepared insightface FaceAnalysis with the detection and recognition networks of a pack, and no others.

    If onnxruntime does not offer `provider`, the networks run on the CPU, and the log says so, as it says that a pack
    has no recogniser. A pack that is already open is shared instead of loaded again.

    Raises:
        FaceError: insightface or onnxruntime does not work, a network is damaged, or the pack has no detector.
    """
    networks = tuple(fingerprint(path) for path in sorted(folder.glob("*.onnx")) if path.is_file())  # changes reopen it
    return _packs.get_or_open(folder.resolve(), lambda: _open_pack(folder, provider), provider, networks)


def _open_pack(folder: Path, provider: str) -> Any:
    runtime = import_face_module("onnxruntime")
    available = runtime.get_available_providers()
    providers = choose_providers(provider, available)
    for note in filter(None, (fallback_note(provider, available), pack_fault(folder))):
        logger.warning(note)
    face_analysis = import_face_module("insightface.app").FaceAnalysis
    try:
        analysis = face_analysis(
            name=str(folder.resolve()), allowed_modules=["detection", "recognition"], providers=providers
        )
    except AssertionError as error:  # insightface raises it for a pack without a detector
        files = ", ".join(sorted(path.name for path in folder.glob("*.onnx"))) or "no .onnx file"
        raise FaceError(
            f"The face pack {folder} has no network that insightface takes for a detector: {files}."
        ) from error
    except Exception as error:  # onnxruntime raises many types of its own for a damaged file
        raise FaceError(
            f"A network of the face pack {folder} cannot be read: it is damaged, or none. Get the pack again. "
            f"({error!s:.200})"
        ) from error
    analysis.prepare(ctx_id=0, det_size=(640, 640))
    used = analysis.det_model.session.get_providers()
    if providers[0] not in used:
        logger.warning("onnxruntime could not start %s and runs faces on %s", providers[0], ", ".join(used))
    return analysis
