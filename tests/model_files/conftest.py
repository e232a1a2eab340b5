"""A hub on this computer, and nobody's token."""

import pytest

from harness.hub import serve_hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("pack.model_files.transfer.PAUSE", 0.0)
        yield hub


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path / "models"
