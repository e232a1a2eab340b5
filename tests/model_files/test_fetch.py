"""A file is fetched whole and checked, or nothing lies under its name: against a server that speaks the hub's way."""

import errno
import io
import os
import pickle
from collections import namedtuple

import pytest
import torch
from safetensors.torch import save

from harness.hub import Entry
from pack.model_files import fetch as module
from pack.model_files.errors import DownloadError
from pack.model_files.fetch import PARTS, fetch
from pack.model_files.formats import digest
from pack.model_files.remote import Wanted

REPOSITORY, PATH = "somebody/adapters", "models/adapter.safetensors"
MODEL = save({"a": torch.arange(5000.0), "b": torch.ones(3)})
WANTED = Wanted("mine.safetensors", REPOSITORY, PATH)


class Stop(Exception):
    """What ComfyUI raises where a person stops a run is no error of the system either."""


def put(hub, content=MODEL, path=PATH, **habits):
    hub.entries[f"{REPOSITORY}/{path}"] = Entry(content, **habits)
    return hub.entries[f"{REPOSITORY}/{path}"]


def files(folder):
    """What lies under a final name."""
    return sorted(path.name for path in folder.iterdir() if path.name != PARTS)


@pytest.mark.parametrize("stored", [True, False], ids=["in storage", "small"])
def test_a_file_arrives_whole_under_its_own_name_and_nothing_else_stays(hub, folder, stored):
    put(hub, stored=stored)
    seen = []
    path = fetch(WANTED, folder, lambda done, whole: seen.append((done, whole)))
    assert path == folder / "mine.safetensors" and path.read_bytes() == MODEL
    assert seen[0] == (0, len(MODEL)) and seen[-1] == (len(MODEL), len(MODEL))
    assert list(folder.iterdir()) == [path]


def test_what_is_there_already_is_not_fetched_again(hub, folder):
    put(hub)
    path = fetch(WANTED, folder)
    before = len(hub.sent("range"))
    assert fetch(WANTED, folder) == path and len(hub.sent("range")) == before


def test_another_file_of_that_name_is_left_alone(hub, folder):
    put(hub)
    (folder / "mine.safetensors").write_bytes(b"something of yours")
    with pytest.raises(DownloadError, match="is there already, and is not the published file"):
        fetch(WANTED, folder)
    assert (folder / "mine.safetensors").read_bytes() == b"something of yours"


def test_a_dropped_connection_is_continued_where_it_was_cut(hub, folder):
    put(hub, drops=1)
    assert fetch(WANTED, folder).read_bytes() == MODEL
    assert hub.sent("range") == ["", f"bytes={len(MODEL) // 2}-"]


def test_a_stopped_download_leaves_no_model_and_is_continued_by_the_next_one(hub, folder):
    put(hub, drops=1)

    def stop(done, whole):
        if done:
            raise Stop

    with pytest.raises(Stop):
        fetch(WANTED, folder, stop)
    assert files(folder) == []
    assert [part.suffix for part in sorted((folder / PARTS).iterdir())] == [".lock", ".part"]
    assert fetch(WANTED, folder).read_bytes() == MODEL
    assert hub.sent("range")[-1].startswith("bytes=")


def test_a_server_without_ranges_makes_it_begin_again(hub, folder):
    put(hub, drops=1, ranges=False)
    assert fetch(WANTED, folder).read_bytes() == MODEL


def test_the_rest_of_a_file_that_was_replaced_meanwhile_is_not_put_after_the_old_beginning(hub, folder):
    put(hub)

    def stop(done, whole):
        raise Stop

    with pytest.raises(Stop):
        fetch(WANTED, folder, stop)
    other = save({"c": torch.zeros(5000)})
    put(hub, other)
    assert fetch(WANTED, folder).read_bytes() == other


@pytest.mark.parametrize("told", [len(MODEL) - 1, len(MODEL) + 1])
def test_another_length_than_was_told_is_refused(hub, folder, told):
    put(hub, told=told)
    with pytest.raises(DownloadError, match=f"sent {len(MODEL)} bytes of {told}"):
        fetch(WANTED, folder)
    assert files(folder) == []


@pytest.mark.parametrize("habits", [{"etag": "0" * 64}, {"etag": "0" * 40, "stored": False}], ids=["sha256", "git"])
def test_other_content_than_the_hub_says_is_thrown_away(hub, folder, habits):
    put(hub, **habits)
    with pytest.raises(DownloadError, match="its content is not the published one"):
        fetch(WANTED, folder)
    assert files(folder) == [] and not list(folder.rglob("*.part"))


def test_other_content_than_the_table_says_is_thrown_away(hub, folder):
    put(hub)
    with pytest.raises(DownloadError, match="its content is not the published one"):
        fetch(Wanted("mine.safetensors", REPOSITORY, PATH, sha256="1" * 64), folder)
    assert files(folder) == []


@pytest.mark.parametrize(
    "content", [b"", b"<html>Please log in</html>", MODEL[:-1], save({})], ids=["empty", "page", "cut", "no tensors"]
)
def test_a_file_that_is_no_model_is_thrown_away_although_its_hash_is_right(hub, folder, content):
    put(hub, content)
    with pytest.raises(DownloadError, match="was fetched, and thrown away"):
        fetch(WANTED, folder)
    assert files(folder) == []


def pickled(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil_was_here",)


def test_a_pickle_is_fetched_only_where_nothing_else_is_published_and_never_executed(hub, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    put(hub, pickled({"image_proj": {"a": torch.ones(2)}}), "adapter.bin")
    with pytest.raises(DownloadError, match="only .safetensors files are"):
        fetch(Wanted("mine.bin", REPOSITORY, "adapter.bin"), folder)
    allowed = Wanted("mine.bin", REPOSITORY, "adapter.bin", pickle_allowed=True)
    assert fetch(allowed, folder).name == "mine.bin"
    for evil in (pickled({"a": Evil()}), pickle.dumps(Evil()), pickled([1])):
        (folder / "mine.bin").unlink(missing_ok=True)
        put(hub, evil, "adapter.bin")
        with pytest.raises(DownloadError, match="thrown away"):
            fetch(allowed, folder)
        assert files(folder) == [] and not (folder.parent / "evil_was_here").exists()


def test_gated_missing_and_unknown_are_told_apart(hub, folder):
    put(hub, gated=True)
    with pytest.raises(DownloadError, match="accepted its terms only.*HF_TOKEN"):
        fetch(WANTED, folder)
    with pytest.raises(DownloadError, match="has no file models/other.safetensors"):
        fetch(Wanted("a.safetensors", REPOSITORY, "models/other.safetensors"), folder)
    with pytest.raises(DownloadError, match="no repository nobody/nothing, or it is private"):
        fetch(Wanted("a.safetensors", "nobody/nothing", PATH), folder)
    assert files(folder) == []


def test_a_token_opens_a_gated_file_and_is_shown_to_nobody_else(hub, folder, monkeypatch, caplog):
    put(hub, gated=True, drops=1)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert fetch(WANTED, folder).read_bytes() == MODEL
    assert hub.asked[0][2]["authorization"] == "Bearer hf_right"
    assert hub.sent("authorization") == ["", ""]  # the storage is another host
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(DownloadError) as refused:
        fetch(WANTED, folder)
    assert "hf_secret" not in str(refused.value) + caplog.text


def test_nobody_answers(folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="could not be fetched.*Check the connection"):
        fetch(WANTED, folder)


def test_a_login_page_in_the_way_is_no_hub(hub, folder):
    put(hub, b"<html>", stored=False)
    hub.commit.clear()
    with pytest.raises(DownloadError, match="does not answer like a model hub"):
        fetch(WANTED, folder)


def test_a_disk_that_is_too_small_is_told_before_the_first_byte(hub, folder, monkeypatch):
    put(hub)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10, 10, 0))
    with pytest.raises(DownloadError, match="needs 0 MB more.*Free some space"):
        fetch(WANTED, folder)
    assert hub.sent("range") == [] and files(folder) == []


def test_a_disk_that_fills_up_on_the_way_leaves_no_model(hub, folder):
    put(hub)

    def full(done, whole):
        if done:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DownloadError, match="is full. Free some space"):
        fetch(WANTED, folder, full)
    assert files(folder) == []


def test_a_file_is_not_fetched_twice_at_the_same_time(hub, folder):
    put(hub)

    def again(done, whole):
        with pytest.raises(DownloadError, match="being fetched already"):
            fetch(WANTED, folder)

    assert fetch(WANTED, folder, again).read_bytes() == MODEL


def test_the_hash_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"hello\n")
    assert digest(tmp_path / "a") == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert digest(tmp_path / "a", git=True) == "ce013625030ba8dba906f756967f9e9ca394464a"
