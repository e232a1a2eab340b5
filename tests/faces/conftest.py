"""The real face pack and the photos, for every test in this folder."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from faces import assets
from pack.ipadapter import face_models


@pytest.fixture(scope="session")
def face_root() -> Path:
    return assets.face_models()


@pytest.fixture(scope="session")
def analysis(face_root: Path) -> Any:
    """The pack as our loader loads it, on the installed insightface."""
    return face_models.load_pack(face_root / "models" / assets.PACK, "CPU")


@pytest.fixture(scope="session")
def photo() -> Callable[[str], Tensor]:
    """`photo(name)` is one picture (1, h, w, 3)."""
    return functools.cache(lambda name: assets.load_photo(assets.PHOTOS[name]()))
