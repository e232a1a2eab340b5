"""A ComfyUI of our own that is stopped from beside while it starts."""

import subprocess
import sys
import threading
import time

import pytest

from headless.errors import ServerLost
from headless.process import ComfyUI, free_port


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


def test_one_that_is_stopped_while_it_starts_is_lost_and_says_so(comfyui):
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


def test_one_that_does_not_answer_in_time_says_what_it_logged(comfyui):
    with pytest.raises(ServerLost, match="did not start:\nsaid"):
        comfyui.wait_until_ready(free_port(), 0.3)
    assert comfyui.process is None
