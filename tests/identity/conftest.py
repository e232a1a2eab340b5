"""The real face pack and the photos of tests/faces."""

from faces.conftest import analysis, face_root, photo

__all__ = ["analysis", "face_root", "photo"]
