"""A hub on this computer, and a server that fetches from it into empty model folders."""

import shutil

import pytest

from harness.hub import Entry, serve_hub
from harness.server import Server
from model_doctor.shelves import VIT_H, encoder_bytes, write_adapter

ADAPTER, ENCODER = "h94/IP-Adapter/models/ip-adapter-plus_sd15.safetensors", (
    "h94/IP-Adapter/models/image_encoder/model.safetensors"
)  # fmt: skip


@pytest.fixture(scope="session")
def hub():
    """The repository of the general adapters, with two small files in it."""
    with serve_hub() as hub:
        yield hub


@pytest.fixture
def published(hub, tmp_path):
    """The hub as it should be, whatever a test made of it before."""
    adapter = write_adapter(tmp_path / "ip-adapter-plus_sd15.safetensors")
    hub.entries.clear()
    hub.asked.clear()
    hub.entries |= {ADAPTER: Entry(adapter.read_bytes()), ENCODER: Entry(encoder_bytes(VIT_H))}
    return hub


@pytest.fixture(scope="session")
def environment(hub, tmp_path_factory):
    return {
        "HF_ENDPOINT": hub.endpoint, "HF_TOKEN_PATH": str(tmp_path_factory.mktemp("hub") / "no_token"),
        "HF_TOKEN": "hf_secret", "NO_PROXY": "127.0.0.1,localhost", "ATELIER_FREE_DOWNLOADS": "1",
    }  # fmt: skip


@pytest.fixture(scope="module")
def bare(environment):
    """A server without any model; what its nodes fetch comes from the hub."""

    class Bare(Server):
        def make_base(self):
            super().make_base()
            shutil.rmtree(self.base / "models")
            (self.base / "models" / "ipadapter").mkdir(parents=True)

    Bare.environment = Server.environment | environment
    Bare.read_late = frozenset(environment)  # when something is fetched; test_terminal.py starts processes with them
    with Bare() as server:
        yield server


@pytest.fixture
def models(bare):
    """Its model folders, emptied."""
    for folder in ("ipadapter", "clip_vision"):
        shutil.rmtree(bare.base / "models" / folder, ignore_errors=True)
        (bare.base / "models" / folder).mkdir()
    return bare.base / "models"
