"""Load a face pack (a folder of ONNX networks) through insightface, from disk only."""

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
_packs = SharedFiles()


def import_face_module(name: str) -> ModuleType:
    """A module of insightface, onnxruntime or cv2; FaceError with the real cause when it cannot be imported.

    A package that is there but broken (onnxruntime without its libraries, one built for another numpy) raises other
    errors than ImportError, and hides them under "insightface is required" in many packs: they are passed on here.
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
    """onnxruntime's names for a provider of the user interface, with the CPU as the last resort for single operations,
    and for all where onnxruntime does not offer the wished one.
    """
    if wished not in PROVIDERS:
        raise FaceError(f"Unknown provider {wished!r}: expected one of {', '.join(PROVIDERS)}.")
    return list(dict.fromkeys([*(name for name in PROVIDERS[wished] if name in available)][:1] + [CPU]))


def fallback_note(wished: str, available: Sequence[str] | None = None) -> str | None:
    """Why faces run on the CPU though another provider was wished for; None where they run on the wished one.

    `available` is what onnxruntime offers, else it is asked.
    """
    offered = import_face_module("onnxruntime").get_available_providers() if available is None else available
    if choose_providers(wished, offered)[0] in PROVIDERS[wished]:
        return None
    return (
        f"Faces run on the CPU: the installed onnxruntime does not offer {wished} ({' or '.join(PROVIDERS[wished])}). "
        f"For {wished}, install {PROVIDER_PACKAGES[wished]} in its place; the CPU takes a fraction of a second more."
    )


def find_pack(name: str, roots: Sequence[Path]) -> Path:
    """The folder with a pack's .onnx files: <root>/models/<name>, or the folder of that name that a zip put inside it.

    Raises FileNotFoundError naming the folder to make, where the pack is had and under which licence; FileNameError
    for a name that is more than a folder's.
    """
    for root in roots:
        folder = inside(root / "models", name, plain=True)
        for candidate in (folder, folder / name):
            if any(candidate.glob("*.onnx")):
                return candidate
    published = next((pack for pack in FACE_PACKS if pack.name == name), None)
    file = f"the file {published.path} of " if published and published.path else ""
    source = f"{file}{published.source}" if published else "wherever you have it from, with the licence it has there"
    found = sorted({path.parent.name for root in roots for path in root.glob("models/*/*.onnx")})
    raise FileNotFoundError(
        f"No face pack {name!r}: expected .onnx files in {' or '.join(str(root / 'models' / name) for root in roots)}. "
        f"Get it from {source}. Packs found: {', '.join(found) or 'none'}. Nothing is downloaded for you."
    )


def load_pack(folder: Path, provider: str) -> Any:
    """A prepared insightface FaceAnalysis with only the detection and recognition networks of a pack.

    A provider that onnxruntime lacks becomes the CPU, with one line in the log. A pack that is still in use elsewhere
    is not loaded twice. Raises FaceError when insightface or onnxruntime does not work, or when the pack
    has no detector.
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
