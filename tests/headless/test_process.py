"""ComfyUI processes that stop or hang while they start, or whose parent process is killed."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from harness.host import ROOT
from headless.errors import ServerLost
from headless.process import ComfyUI, free_port

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
