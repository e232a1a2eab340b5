"""Face packs are unpacked whole, into their own folder, and nothing but networks comes out of a zip."""

import io
import stat
import zipfile

import pytest

from harness.hub import Entry
from pack.model_files.errors import DownloadError
from pack.model_files.fetch import PARTS
from pack.model_files.packs import fetch_pack
from pack.model_files.remote import Wanted

NETWORKS = {"det_10g.onnx": b"detector", "w600k_r50.onnx": b"recogniser"}


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def wanted(hub, content, name="buffalo_l"):
    hub.entries["packs/a.zip"] = Entry(content)
    return Wanted(name, "insightface", "a.zip", address=f"{hub.endpoint}/storage/packs/a.zip")


@pytest.mark.parametrize("inside", ["", "buffalo_l/"], ids=["flat", "in a folder of its own"])
def test_a_pack_arrives_in_its_folder_and_nothing_else_stays(hub, folder, inside):
    pack = fetch_pack(wanted(hub, zipped({inside + name: data for name, data in NETWORKS.items()})), folder)
    assert pack == folder / "buffalo_l" and list(folder.iterdir()) == [pack]
    assert {path.name: path.read_bytes() for path in pack.iterdir()} == NETWORKS
    asked = len(hub.asked)
    assert fetch_pack(wanted(hub, b""), folder) == pack and len(hub.asked) == asked


def test_only_networks_come_out_and_only_into_the_folder(hub, folder):
    members = {"../../evil.onnx": b"1", "/etc/other.onnx": b"2", "run.py": b"print()", "a\\b\\c.onnx": b"3"}
    pack = fetch_pack(wanted(hub, zipped(members)), folder)
    assert sorted(path.name for path in pack.iterdir()) == ["c.onnx", "evil.onnx", "other.onnx"]
    assert [path.name for path in folder.parent.rglob("*.onnx") if path.parent != pack] == []


def link():
    member = zipfile.ZipInfo("link.onnx")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(member, "/etc/passwd")
    return buffer.getvalue()


def damaged():
    content = bytearray(zipped({"a.onnx": bytes(range(256)) * 40}))
    content[60] ^= 255
    return bytes(content)


REFUSED = {
    "no zip": (b"<html>", "is no whole zip file"),
    "cut": (zipped(NETWORKS)[:-30], "is no whole zip file"),
    "damaged": (damaged(), "is no whole zip file"),
    "no network": (zipped({"readme.txt": b""}), "holds no .onnx network"),
    "a link": (link(), "holds no .onnx network"),
    "one name twice": (zipped({"a/x.onnx": b"1", "b/x.onnx": b"2"}), "two files called x.onnx"),
    "too many": (zipped({f"{number}.onnx": b"" for number in range(33)}), "far too large"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_zip_that_is_no_face_pack_leaves_no_folder(hub, folder, case):
    content, message = REFUSED[case]
    with pytest.raises(DownloadError, match=message):
        fetch_pack(wanted(hub, content), folder)
    assert [path.name for path in folder.iterdir() if path.name != PARTS] == []
    assert fetch_pack(wanted(hub, zipped(NETWORKS)), folder).is_dir()


def test_a_folder_without_networks_is_not_written_into(hub, folder):
    (folder / "buffalo_l").mkdir()
    with pytest.raises(DownloadError, match="without any network in it"):
        fetch_pack(wanted(hub, zipped(NETWORKS)), folder)


def test_no_token_goes_to_a_release_page(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    fetch_pack(wanted(hub, zipped(NETWORKS)), folder)
    assert hub.sent("authorization") == [""]
