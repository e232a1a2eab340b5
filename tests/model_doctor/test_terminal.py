"""python atelier.py doctor and fetch, for a ComfyUI that does not run."""

import json
import os
import subprocess
import sys

import pytest

from harness.host import ROOT, find_comfyui
from model_doctor.conftest import ADAPTER_FILE, ENCODER_FILE
from model_doctor.shelves import write_adapter, write_network
from pack.model_files.errors import DownloadError
from terminal.fetching import fetch_preset

if find_comfyui() is None:
    pytest.skip("needs ComfyUI: set COMFYUI_PATH", allow_module_level=True)


@pytest.fixture
def ask(environment, tmp_path):
    """Runs atelier.py for a ComfyUI whose model folders are named in a file of extra model paths."""
    for folder in ("ipadapter", "clip_vision", "insightface"):
        (tmp_path / "shelf" / folder).mkdir(parents=True)
    lines = ["mine:", f"  base_path: {tmp_path / 'shelf'}", "  is_default: true"]
    lines += [f"  {name}: {name}" for name in ("ipadapter", "clip_vision", "insightface", "instantid")]
    (tmp_path / "paths.yaml").write_text("\n".join(lines))

    def run(*arguments):
        extra = ["--comfyui", str(find_comfyui()), "--extra-model-paths-config", str(tmp_path / "paths.yaml")]
        command = [sys.executable, str(ROOT / "atelier.py"), *arguments, *extra]
        return subprocess.run(command, env=os.environ | environment, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_the_doctor_reads_extra_model_paths_and_prints_json_and_draws(ask, tmp_path):
    write_adapter(tmp_path / "shelf" / "ipadapter" / "ip-adapter_sd15.safetensors")
    (tmp_path / "shelf" / "instantid").mkdir()
    write_adapter(tmp_path / "shelf" / "instantid" / "mine.safetensors", "ip-adapter-plus_sd15.safetensors")
    done = ask("doctor", "--json", "--picture", str(tmp_path / "a.png"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout[done.stdout.index("{") :])
    path = str(tmp_path / "shelf" / "ipadapter" / "ip-adapter_sd15.safetensors")
    assert next(file for file in found["files"] if file["path"] == path)["what"] == "standard adapter for SD1.5"
    assert {file["folder"] for file in found["files"] if file["name"] == "mine.safetensors"} == {"instantid"}
    plus = next(one for one in found["presets"] if (one["preset"], one["family"]) == ("PLUS (high strength)", "sd15"))
    assert plus["missing"][0]["name"].startswith("CLIP-ViT-H")  # the adapter is found where another pack keeps it
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_preset_is_fetched_by_a_short_name_and_only_once(ask, published, tmp_path):
    done = ask("fetch", "flux - xlabs", "--family", "flux")
    assert done.returncode == 0, done.stderr
    paths = [tmp_path / "shelf" / file for file in (ADAPTER_FILE, ENCODER_FILE)]
    assert done.stdout.split() == [str(path) for path in paths] and all(path.is_file() for path in paths)
    assert "hf_secret" not in done.stdout + done.stderr
    before = len(published.asked)
    assert ask("fetch", "flux - xlabs", "--family", "flux").returncode == 0 and len(published.asked) == before


def test_what_cannot_be_fetched_is_said_in_a_line(ask, published):
    done = ask("fetch")
    assert done.returncode == 1 and done.stderr.startswith("Say what to fetch") and "Traceback" not in done.stderr


def test_half_a_face_pack_is_not_fetched_over(published, tmp_path):
    places = {name: [tmp_path / name] for name in ("ipadapter", "clip_vision", "loras", "insightface")}
    write_adapter(tmp_path / "ipadapter" / "ip-adapter-faceid_sd15.bin")
    half = write_network(tmp_path / "insightface" / "models" / "buffalo_l" / "det_10g.onnx", "detection")
    before = len(published.asked)
    with pytest.raises(DownloadError, match=r"buffalo_l has no recogniser; .* remove its folder first"):
        fetch_preset("faceid", "sd15", places)
    assert list((tmp_path / "insightface").rglob("*.*")) == [half] and len(published.asked) == before


REFUSED = {
    ("plus",): "exists for sd15 and sdxl: say which with --family",
    ("plu",): "Several presets begin with 'plu'",
    ("nonsense",): "There is no preset 'nonsense'",
    ("h94/IP-Adapter", "models/none.safetensors"): "has no file models/none.safetensors",
    ("h94/IP-Adapter", "../none.safetensors"): "is no path in a repository",
}
# What each command line ends with: a process for every one would spend its time on importing torch.
ONE_BY_ONE = """
import json, sys
from terminal.__main__ import main

said = []
for arguments in json.loads(sys.argv[1]):
    try:
        said.append(main(arguments))
    except SystemExit as end:
        said.append(end.code)
print(json.dumps(said))
"""


def test_each_refusal_says_what_is_the_matter(environment, published, tmp_path):
    lines = [["fetch", *arguments, "--comfyui-path", str(find_comfyui())] for arguments in REFUSED]
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, json.dumps(lines)], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert all(message in str(end) for message, end in zip(REFUSED.values(), said, strict=True)), said
