"""The models that some workflows ask for."""

import pytest

from faces.assets import write_face_packs
from harness.lessons.files import PACKS
from harness.server import Server
from harness.tiny_runs import write_lesson_models


@pytest.fixture(scope="session", autouse=True)
def lesson_models(server: Server) -> None:
    write_face_packs(server.base / "models" / "insightface" / "models", PACKS)
    write_lesson_models(server.base / "models")
