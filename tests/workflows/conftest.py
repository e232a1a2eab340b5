"""The face pack that some workflows ask for."""

import pytest

from faces.assets import write_face_packs
from harness.face_recipes import PACKS
from harness.server import Server


@pytest.fixture(scope="session", autouse=True)
def face_packs(server: Server) -> None:
    write_face_packs(server.base / "models" / "insightface" / "models", PACKS)
