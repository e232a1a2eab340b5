"""A hub on this computer, and a server that fetches from it into empty model folders."""

import shutil

import pytest

from harness.hub import Entry, serve_hub
from harness.server import Server
from model_doctor.shelves import VIT_L, encoder_bytes, flux_adapter_bytes
from pack.doctor.report import examine_all

# Files of which no hash is known, so that a hub may have small ones; and a file whose hash is known.
ADAPTER, ENCODER = "XLabs-AI/flux-ip-adapter/ip_adapter.safetensors", "openai/clip-vit-large-patch14/model.safetensors"
HASHED = "h94/IP-Adapter/models/ip-adapter_sd15.safetensors"
FOLDERS = ("ipadapter", "clip_vision", "loras", "checkpoints")
ADAPTER_FILE, ENCODER_FILE = "ipadapter/flux-ip-adapter.safetensors", "clip_vision/clip-vit-large-patch14.safetensors"


@pytest.fixture
def places(tmp_path):
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    return {name: [tmp_path / name] for name in FOLDERS}


@pytest.fixture
def look(places, tmp_path):
    """What the doctor says of the folders now."""
    return lambda: examine_all(places, [tmp_path / "insightface"])


@pytest.fixture(scope="session")
def hub():
    """A hub without files: each test publishes its own."""
    with serve_hub() as hub:
        yield hub


@pytest.fixture
def published(hub):
    """The hub with its small files, whatever a test changed in it before."""
    hub.entries.clear()
    hub.asked.clear()
    files = {ADAPTER: flux_adapter_bytes(), ENCODER: encoder_bytes(VIT_L), HASHED: flux_adapter_bytes()}
    hub.entries |= {name: Entry(content) for name, content in files.items()}
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
