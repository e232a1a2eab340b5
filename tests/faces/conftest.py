"""The real face pack, the photos, and the server with small FaceID adapters, for every test in this folder."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import synthetic
from faces import assets
from faces.graphs import PHOTOS, VARIANTS, sample
from harness.assets import FACE
from harness.graph import Graph
from pack.encoders import face_models


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


@pytest.fixture(scope="module")
def faces_server(server):
    """The server with small FaceID adapters of every variant, a face pack and photos of people."""
    for seed, (file, (variant, _, sizes, *_)) in enumerate(VARIANTS.items()):
        if (target := server.base / "models" / "ipadapter" / file).exists():  # of the last module
            continue
        nested = synthetic.adapter(variant, seed=seed, dtype=torch.float16, **sizes | FACE)
        synthetic.save(nested, target)
    assets.write_face_packs(server.base / "models" / "insightface" / "models", ("buffalo_l", assets.PACK))
    for name in PHOTOS:
        source = assets.PHOTOS[name]()
        shutil.copy(source, server.base / "input" / f"{name}{source.suffix}")
    return server


@pytest.fixture(scope="module")
def bare(faces_server):
    """The latent of a family without any adapter, sampled once: no adapter may change it later."""

    @functools.cache
    def latent(family, batch=1):
        g = Graph()
        g.save("latent", sample(g, g.add("TestModel", family=family, seed=1)[0], family, batch=batch)[0])
        return faces_server.run(g).tensor("latent")

    return latent
