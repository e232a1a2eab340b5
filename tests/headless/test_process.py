"""ComfyUI processes that stop or hang while they start, or whose parent process is killed."""

import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from harness.host import HINT, ROOT, find_comfyui
from headless.errors import ServerLost
from headless.process import ComfyUI, free_port, name_models

ANSWERS = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
time.sleep(60)
"""
STARTS = """
import time
from headless.process import ComfyUI
comfyui = ComfyUI(["--cpu"])
comfyui.start()
print(comfyui.process.pid, flush=True)
time.sleep(60)
"""
READS = """
import json, sys
sys.path.insert(0, sys.argv.pop(1))
file = sys.argv.pop(1)
import folder_paths
from utils.extra_config import load_extra_path_config
load_extra_path_config(file)
print(json.dumps({name: paths for name, (paths, _) in folder_paths.folder_names_and_paths.items()}))
"""


@pytest.fixture
def comfyui(tmp_path, monkeypatch):
    """A ComfyUI whose process never answers."""
    monkeypatch.setattr("headless.process.find_comfyui", lambda: tmp_path)
    comfyui = ComfyUI()
    comfyui.base = tmp_path / "base"
    comfyui.base.mkdir()
    comfyui.log_file.write_text("said")
    comfyui.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield comfyui
    comfyui.stop()


def test_a_comfyui_that_another_thread_stops_while_it_starts_is_a_lost_server(comfyui):
    said = []

    def wait():
        with pytest.raises(ServerLost, match="did not start") as lost:
            comfyui.wait_until_ready(free_port(), 30)
        said.append(str(lost.value))

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)  # until it asks the port
    comfyui.stop()
    waiting.join(20)
    assert len(said) == 1 and not comfyui.base.exists()


def test_the_error_of_a_comfyui_that_does_not_answer_in_time_has_its_log(comfyui):
    with pytest.raises(ServerLost, match="did not start:\nsaid"):
        comfyui.wait_until_ready(free_port(), 0.3)
    assert comfyui.process is None


def test_comfyui_ends_with_its_parent_on_systems_that_leave_children_running(tmp_path):
    """test_ray.py cannot show this: Ray itself ends the children of a worker."""
    (tmp_path / "host" / "comfy").mkdir(parents=True)
    (tmp_path / "host" / "main.py").write_text(ANSWERS)
    places = {"COMFYUI_PATH": str(tmp_path / "host"), "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    starter = subprocess.Popen([sys.executable, "-c", STARTS], env=os.environ | places, stdout=subprocess.PIPE)
    assert starter.stdout
    comfyui = psutil.Process(int(starter.stdout.readline()))
    try:
        starter.kill()
        starter.wait(10)
        _, alive = psutil.wait_procs([comfyui], timeout=10)
        assert alive == []
    finally:
        if comfyui.is_running():
            comfyui.kill()


def test_comfyui_gets_the_folders_of_any_name_and_that_of_another_pack_below_one(tmp_path):
    host = tmp_path / "Jörg's: AI #1 ☃"
    for name in ("ipadapter", "123", "on", "a: b", "@x", "xlabs/ipadapters"):
        (host / "models" / name).mkdir(parents=True)
    name_models(tmp_path / "models.yaml", host)
    if (comfyui := find_comfyui()) is None:
        pytest.skip(HINT)
    command = [sys.executable, "-c", READS, str(comfyui), str(tmp_path / "models.yaml")]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    expected = {name: name for name in ("ipadapter", "123", "on", "a: b", "@x")} | {
        "xlabs_ipadapters": "xlabs/ipadapters"
    }
    for name, path in expected.items():
        assert str(host / "models" / path) in found[name], name
