"""Nothing lands outside its folder, whatever a repository or a file is called."""

import os

import pytest

from pack.model_files.errors import DownloadError
from pack.model_files.names import check_repository, target

NAMES = (
    "../a.safetensors", "/etc/a.safetensors", "..", ".", "", ".hidden.safetensors", "a/b.safetensors",
    "a\\b.safetensors", "C:a.safetensors", "a\0.safetensors", "a\n.safetensors", "con.safetensors", "LPT1.bin",
    "a.safetensors ", "a.", "a" * 151, "ä.safetensors", "a:b.safetensors", "a\u202eb.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_is_only_a_name(tmp_path, name):
    with pytest.raises(DownloadError, match="is no file name that can be used"):
        target(tmp_path, name)


@pytest.mark.parametrize("name", ["ip-adapter_sd15.safetensors", "my (2) file + more.bin", "CLIP-ViT-H-14.safetensors"])
def test_usual_names_are_taken(tmp_path, name):
    assert target(tmp_path, name) == tmp_path / name


@pytest.mark.skipif(os.name == "nt", reason="links need a right that Windows rarely gives")
def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.bin").symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(DownloadError, match="is a link"):
        target(tmp_path / "models", "a.bin")


@pytest.mark.parametrize(
    "repository", ["h94", "h94/", "/h94/a", "h94/a/b", "../..", "h94/..", "a b/c", "https://x/y", "", "a/b?c", "a/b#c"]
)
def test_a_repository_is_an_owner_and_a_name(repository):
    with pytest.raises(DownloadError, match="is no repository"):
        check_repository(repository, "a.bin")


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "a//b", "a\\b", "a?b", "a#b", "a\n", "./a", "%2e%2e/a"])
def test_a_path_in_a_repository_is_plain(path):
    with pytest.raises(DownloadError, match="is no path in a repository"):
        check_repository("h94/IP-Adapter", path)
