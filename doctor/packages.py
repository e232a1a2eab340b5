"""Check that the packages for faces can be imported in this Python, with the devices that they can use, and the
version of PyTorch.
"""

import importlib.metadata
import sys
from dataclasses import dataclass

from ..encoders.face_models import PROVIDERS, import_face_module
from ..ipadapter.errors import FaceError
from .host import old_torch


@dataclass(frozen=True)
class Package:
    """A Python package: its version, and why it cannot be imported, or a note on it."""

    name: str
    version: str = ""
    fault: str = ""  # why it cannot be imported
    note: str = ""


def packages() -> list[Package]:
    """Versions and faults of Python, PyTorch, insightface and onnxruntime; packages for faces are imported for it."""
    version = ".".join(map(str, sys.version_info[:3]))
    return [Package("Python", version, note=sys.executable), _torch(), _insightface(), _onnxruntime()]


def _torch() -> Package:
    version = _version("torch")
    return Package("PyTorch", version, note=old_torch(version)) if version else Package("PyTorch", fault="not there")


def _insightface() -> Package:
    try:
        import_face_module("insightface.app")
    except FaceError as error:
        return Package("insightface", _version("insightface"), str(error))
    return Package("insightface", _version("insightface"))


def _onnxruntime() -> Package:
    try:
        runtime = import_face_module("onnxruntime")
        offered = runtime.get_available_providers()
    except FaceError as error:
        return Package("onnxruntime", "", str(error))
    except AttributeError:  # an uninstall left an empty folder, which Python imports
        return Package("onnxruntime", "", "onnxruntime is there without its content. Reinstall it for this Python.")
    ours = [wished for wished, names in PROVIDERS.items() if set(names) & set(offered)]
    return Package("onnxruntime", runtime.__version__, note=f"runs on {', '.join(ours) or 'no known provider'}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
