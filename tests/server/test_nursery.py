"""What is forked with its packages imported finds everything as in a process of its own, and ends as one does."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

if sys.platform != "linux":
    pytest.skip("servers are forked on Linux only", allow_module_level=True)

from harness.nursery import Forks, Nursery

ENVIRONMENT = os.environ | {"PYTHONPATH": "", "PYTHONUNBUFFERED": "1"}
PROBE = """
import gc, json, os, signal, sys, threading
import neighbour
print(json.dumps({
    "name": __name__, "file": __file__, "main": sys.modules["__main__"].__file__, "arguments": sys.argv,
    "paths": sys.path, "flags": repr(sys.flags), "environment": dict(os.environ), "folder": os.getcwd(),
    "streams": [os.path.realpath(f"/proc/self/fd/{number}") for number in range(3)],
    "unbuffered": sys.stdout.write_through, "open": len(os.listdir("/proc/self/fd")),
    "threads": threading.active_count(), "signals": str([signal.getsignal(number) for number in (2, 13, 15)]),
    "collects": gc.isenabled(), "neighbour": neighbour.__file__,
}))
print("to standard error", file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "main.py").write_text(PROBE)
    (folder / "neighbour.py").touch()
    (folder / "sleeper.py").write_text("import time; print('asleep', flush=True); time.sleep(60)")
    return folder


@pytest.fixture
def nursery(folder):
    nursery = Nursery(folder, ENVIRONMENT | {"OF_THE_NURSERY": "1"}, packages=["json", "no_such_package"])
    yield nursery
    nursery.close()


@pytest.fixture
def forks(nursery):
    forks = Forks(nursery.address)
    yield forks
    forks.connection.close()


def start_asleep(forks, folder):
    log = folder / "sleeper.log"
    process = forks.start([str(folder / "sleeper.py")], ENVIRONMENT, log)
    while not (log.exists() and log.read_text()):
        time.sleep(0.01)
    return process


def test_a_forked_process_finds_all_that_a_plain_one_finds(forks, folder):
    command = [str(folder / "main.py"), "--port", "1"]
    environment = ENVIRONMENT | {"ITS_OWN": "1"}
    with (folder / "plain.log").open("wb") as log:
        plain = [sys.executable, "-s", *command]
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        done = subprocess.run(plain, env=environment, cwd=folder, **streams)
    assert done.returncode == forks.start(command, environment, folder / "forked.log").wait(20) == 3
    plain, forked = ((folder / f"{name}.log").read_text().splitlines() for name in ("plain", "forked"))
    plain[0] = plain[0].replace("plain.log", "forked.log")
    assert json.loads(forked[0]) == json.loads(plain[0]) and forked[1:] == plain[1:] == ["to standard error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_and_its_code_says_which(forks, folder, number):
    process = start_asleep(forks, folder)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    {signal.SIGTERM: process.terminate, signal.SIGKILL: process.kill}[number]()
    assert process.wait(20) == process.poll() == process.returncode == -number


def test_nothing_is_left_when_the_tests_have_ended(nursery, folder):
    ended, goes_on = (Forks(nursery.address) for _ in range(2))  # two processes of pytest
    first, second = (psutil.Process(start_asleep(forks, folder).pid) for forks in (ended, goes_on))
    everything = psutil.Process(nursery.process.pid).children(recursive=True)
    assert {first, second} < set(everything)
    ended.connection.close()  # as the system does when a process is killed
    first.wait(20)
    assert second.is_running()
    goes_on.connection.close()
    nursery.close()
    assert psutil.wait_procs(everything, timeout=20)[1] == []
