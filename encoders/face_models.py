"""Load a face pack (a folder of ONNX networks) through insightface, from disk only."""

import glob
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
PROVIDERS = {  # name in the user interface -> onnxruntime's names for it, the first one offered is used
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
ROLES = {"detection": "detector", "recognition": "recogniser"}  # the networks of a whole pack, and their names in text
_packs = SharedFiles()


def import_face_module(name: str) -> ModuleType:
    """A module of insightface, onnxruntime or cv2.

    A broken package (onnxruntime without its libraries, or built for another numpy) raises other errors than
    ImportError; its own words are part of ours.

    Raises:
        FaceError: the module is missing or broken, with the cause and what to install.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FaceError(
            f"{name} cannot be imported because the Python package {error.name!r} is missing. "
            "Install what faces need into ComfyUI's Python: pip install insightface onnxruntime"
        ) from error
    except Exception as error:  # whatever a broken binary raises, its own words are the help
        raise FaceError(
            f"{name} is installed but fails to import: {type(error).__name__}: {error}. "
            "Reinstall it for this Python and this numpy: pip install --force-reinstall insightface onnxruntime"
        ) from error


def choose_providers(wished: str, available: Sequence[str]) -> list[str]:
    """onnxruntime's names for a provider of the user interface, best first.

    The CPU is always the last: for operations that the provider lacks, or for all where onnxruntime does not offer it.
    """
    if wished not in PROVIDERS:
        raise FaceError(f"Unknown provider {wished!r}: expected one of {', '.join(PROVIDERS)}.")
    return list(dict.fromkeys([*(name for name in PROVIDERS[wished] if name in available)][:1] + [CPU]))


def fallback_note(wished: str, available: Sequence[str] | None = None) -> str | None:
    """Why faces run on the CPU although another provider was chosen; None where they run on the chosen one.

    `available` are the providers that onnxruntime offers, by default those of the installed one.
    """
    offered = import_face_module("onnxruntime").get_available_providers() if available is None else available
    if choose_providers(wished, offered)[0] in PROVIDERS[wished]:
        return None
    return (
        f"Faces run on the CPU: the installed onnxruntime does not offer {wished} ({' or '.join(PROVIDERS[wished])}). "
        f"For {wished}, install {PROVIDER_PACKAGES[wished]} in its place; the CPU takes a fraction of a second more."
    )


def find_pack(name: str, roots: Sequence[Path]) -> Path:
    """The folder with a pack's .onnx files: <root>/models/<name>, or the folder of that name that a zip made inside it.

    A folder with detector and recogniser is preferred to one that lacks either; `pack_fault` says what a folder lacks.

    Raises:
        FileNotFoundError: no such pack; names the folder to create, the pack's source and licence, and files that lie
            in the wrong folder or are still packed.
        FileNameError: a name that is more than a folder's.
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


def pack_fault(folder: Path) -> str | None:
    """What a pack's folder lacks for FaceID and what to do about it, one sentence for users; None for a whole pack.

    FaceID needs a detector and a recogniser. A folder with a detector alone still crops faces.
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
    """Sentences on a pack's zips that are still packed and on .onnx files outside of all packs' folders, each with what
    to do and a blank at its end; empty where there are no such files.
    """
    text = ""
    for root in roots:
        target = root / "models" / name
        for folder in (root, root / "models", target):
            for path in sorted(folder.glob(f"{glob.escape(name)}*.zip")):
                text += f"{path} is still packed: unpack it into {target}. "
            if folder != target and (loose := sorted(path.name for path in folder.glob("*.onnx"))):
                text += f"{folder} itself holds {', '.join(loose)}: move what is of this pack into {target}. "
    return text


def _source_of(name: str) -> str:
    published = next((pack for pack in FACE_PACKS if pack.name == name), None)
    if published is None:
        return "wherever you have it from, with the licence it has there"
    return f"the file {published.path} of {published.source}" if published.path else str(published.source)


def load_pack(folder: Path, provider: str) -> Any:
    """A prepared insightface FaceAnalysis with only the detection and recognition networks of a pack.

    A provider that onnxruntime lacks becomes the CPU, with one line in the log. A pack that is still in use elsewhere
    is not loaded twice.

    Raises:
        FaceError: insightface or onnxruntime does not work, a network is damaged, or the pack has no detector.
    """
    networks = tuple(fingerprint(path) for path in sorted(folder.glob("*.onnx")))  # a folder's own time says too little
    return _packs.get_or_open(folder.resolve(), lambda: _open_pack(folder, provider), provider, networks)


def _open_pack(folder: Path, provider: str) -> Any:
    runtime = import_face_module("onnxruntime")
    available = runtime.get_available_providers()
    providers = choose_providers(provider, available)
    if note := fallback_note(provider, available):
        logger.warning(note)
    face_analysis = import_face_module("insightface.app").FaceAnalysis
    try:
        analysis = face_analysis(
            name=str(folder.resolve()), allowed_modules=["detection", "recognition"], providers=providers
        )
    except AssertionError as error:  # insightface's only sign of a pack without a detector
        files = ", ".join(sorted(path.name for path in folder.glob("*.onnx"))) or "no .onnx file"
        raise FaceError(
            f"The face pack {folder} has no network that insightface takes for a detector: {files}."
        ) from error
    except Exception as error:  # onnxruntime has errors of its own for every way in which a file can be damaged
        raise FaceError(
            f"A network of the face pack {folder} cannot be read: it is damaged, or none. Get the pack again. "
            f"({error!s:.200})"
        ) from error
    analysis.prepare(ctx_id=0, det_size=(640, 640))
    used = analysis.det_model.session.get_providers()
    if providers[0] not in used:
        logger.warning("onnxruntime could not start %s and runs faces on %s", providers[0], ", ".join(used))
    return analysis
