"""python atelier.py doctor and fetch, for a ComfyUI that does not run."""

import json
import os
import subprocess
import sys

import pytest

from harness.host import ROOT, find_comfyui
from model_doctor.shelves import write_adapter

if find_comfyui() is None:
    pytest.skip("needs ComfyUI: set COMFYUI_PATH", allow_module_level=True)


@pytest.fixture
def ask(environment, tmp_path):
    """Runs atelier.py for a ComfyUI whose model folders are named in a file of extra model paths."""
    for folder in ("ipadapter", "clip_vision", "insightface"):
        (tmp_path / "shelf" / folder).mkdir(parents=True)
    lines = ["mine:", f"  base_path: {tmp_path / 'shelf'}", "  is_default: true"]
    lines += [f"  {name}: {name}" for name in ("ipadapter", "clip_vision", "insightface")]
    (tmp_path / "paths.yaml").write_text("\n".join(lines))

    def run(*arguments):
        extra = ["--comfyui", str(find_comfyui()), "--extra-model-paths-config", str(tmp_path / "paths.yaml")]
        command = [sys.executable, str(ROOT / "atelier.py"), *arguments, *extra]
        return subprocess.run(command, env=os.environ | environment, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_the_doctor_reads_extra_model_paths_and_prints_json_and_draws(ask, tmp_path):
    write_adapter(tmp_path / "shelf" / "ipadapter" / "ip-adapter_sd15.safetensors")
    done = ask("doctor", "--json", "--picture", str(tmp_path / "a.png"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout[done.stdout.index("{") :])
    path = str(tmp_path / "shelf" / "ipadapter" / "ip-adapter_sd15.safetensors")
    assert next(file for file in found["files"] if file["path"] == path)["what"] == "standard adapter for SD1.5"
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_preset_is_fetched_by_a_short_name_and_only_once(ask, published, tmp_path):
    done = ask("fetch", "plus", "--family", "sd15")
    assert done.returncode == 0, done.stderr
    shelf = tmp_path / "shelf"
    paths = [shelf / "ipadapter" / "ip-adapter-plus_sd15.safetensors",
             shelf / "clip_vision" / "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"]  # fmt: skip
    assert done.stdout.split() == [str(path) for path in paths] and all(path.is_file() for path in paths)
    assert "hf_secret" not in done.stdout + done.stderr
    before = len(published.asked)
    assert ask("fetch", "plus", "--family", "sd15").returncode == 0 and len(published.asked) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plus",), "exists for sd15 and sdxl: say which with --family"),
        (("plu",), "Several presets begin with 'plu'"),
        (("nonsense",), "There is no preset 'nonsense'"),
        (("h94/IP-Adapter", "models/none.safetensors"), "has no file models/none.safetensors"),
        (("h94/IP-Adapter", "../none.safetensors"), "is no path in a repository"),
        ((), "Say what to fetch"),
    ],
)
def test_what_cannot_be_fetched_is_said_in_a_line(ask, published, arguments, message):
    done = ask("fetch", *arguments)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
