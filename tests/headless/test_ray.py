"""A Ray cluster on this machine: an actor is killed, a ComfyUI hangs, a picture is broken.

ATELIER_ROWS=200 ATELIER_NODES=3 runs the measurement that docs/headless.md reports; the defaults test the same with
fewer rows. The actor of a machine is killed and the ComfyUI of the other hangs, so one of them has to come back.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from graphs import graph, write_broken, write_pictures
from PIL import Image

from harness.host import ROOT
from headless import run_batch
from headless.errors import RowFailed, ServerLost
from headless.on_ray import PictureStore, RayWorker, connect

ray = pytest.importorskip("ray", reason="Ray is an extra; it is in tests/requirements.txt")
ROWS = int(os.environ.get("ATELIER_ROWS", "16"))
NODES = int(os.environ.get("ATELIER_NODES", "2"))
FLAGS = ["--cpu", "--cache-classic", "--force-fp32", "--use-pytorch-cross-attention"]  # those of the tests' own server


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    unseen = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1} | unseen)
    for _ in range(NODES - 1):
        cluster.add_node(num_cpus=1, num_gpus=1)  # Ray counts GPUs as it is told to; ComfyUI gets --cpu
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class Saboteur(threading.Thread):
    """Once some rows are done: SIGKILL one actor, and SIGSTOP another's ComfyUI."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.journal = folder / "results.jsonl"
        self.killed = self.hung = None

    def processes(self):
        """Processes of actors that have done a row."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_text().splitlines()
        return list(dict.fromkeys(int(json.loads(line)["server"].rpartition(" ")[2]) for line in lines[:-1]))

    def run(self):
        while len(self.processes()) < 2:
            time.sleep(0.02)
        first, second = self.processes()[:2]
        os.kill(first, signal.SIGKILL)
        self.killed = first
        (comfyui,) = psutil.Process(second).children()
        comfyui.send_signal(signal.SIGSTOP)
        self.hung = comfyui.pid


def pixels(folder, outcome):
    with Image.open(folder / outcome.files[0]) as opened:
        return opened.tobytes()


def test_errors_of_an_actor_are_its_own_and_errors_of_ray_are_a_lost_server(cluster):
    connect(cluster.address)

    @ray.remote(num_cpus=0, max_retries=0)
    def fail(error):
        if error is None:
            os._exit(1)
        raise error

    worker = RayWorker(0, 1, [], 5, PictureStore())
    for error in (KeyError("prompt_id"), RowFailed("LoadImage: a broken file"), ServerLost("it hangs")):
        with pytest.raises(type(error)) as raised:
            worker.answer(fail.remote(error))
        assert str(raised.value) == str(error)  # without Ray's traceback
    with pytest.raises(ServerLost, match="actor 1 is lost .WorkerCrashedError"):
        worker.answer(fail.remote(None))


def test_every_row_ends_once_whatever_breaks_and_as_one_server_makes_it(cluster, server, tmp_path):
    write_pictures(tmp_path, ["red", "green", "blue"])
    write_broken(tmp_path / "broken.webp")
    table = [
        {"image": str(tmp_path / f"{('red', 'green', 'blue')[n % 3]}.png"), "seed": n, "weight": 0.5 + n % 2 / 4}
        for n in range(ROWS)
    ]
    table[ROWS // 2]["image"] = str(tmp_path / "broken.webp")
    saboteur = Saboteur(tmp_path / "many")
    saboteur.start()
    options = {"ray": cluster.address, "flags": FLAGS, "patience": 5, "progress": False}
    began = time.monotonic()
    many = run_batch(graph(), table, tmp_path / "many", **options)
    took = time.monotonic() - began
    assert saboteur.killed and saboteur.hung
    one = run_batch(graph(), table, tmp_path / "one", servers=[server.url], progress=False)
    assert [outcome.row for outcome in many.outcomes] == list(range(1, ROWS + 1))
    assert [outcome.row for outcome in many.failed] == [outcome.row for outcome in one.failed] == [ROWS // 2 + 1]
    lines = [json.loads(line)["row"] for line in (tmp_path / "many" / "results.jsonl").read_text().splitlines()]
    assert sorted(lines) == list(range(1, ROWS + 1))  # each exactly once
    assert len(list((tmp_path / "many" / "pictures").iterdir())) == ROWS - 1
    for a, b in zip(many.outcomes, one.outcomes, strict=True):
        assert a.error or pixels(many.folder, a) == pixels(one.folder, b)
    tried = sum(outcome.attempts > 1 for outcome in many.outcomes)
    assert tried >= 2  # the row of the killed and the row of the hung
    servers = {outcome.server for outcome in many.outcomes}
    print(f"\n{ROWS} rows: {took:.0f} s; {len(servers)} actors, {tried} rows tried again, {len(many.failed)} failed")


def test_a_killed_driver_leaves_nothing_running_and_the_next_does_the_rest(cluster, server, tmp_path):
    write_pictures(tmp_path, ["red"])
    (tmp_path / "graph.json").write_text(json.dumps(graph(steps=16)))
    rows = [json.dumps({"image": "red.png", "seed": seed}) for seed in range(6)]
    (tmp_path / "table.jsonl").write_text("\n".join(rows))
    command = [sys.executable, "-m", "headless", "graph.json", "table.jsonl", "-o", "out", "--workers", "1"]
    command += ["--ray", cluster.address, f"--flags={' '.join(FLAGS)}"]
    driver = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    saboteur = Saboteur(tmp_path / "out")
    while not saboteur.processes():
        assert driver.poll() is None, "the batch ended before it could be killed"
        time.sleep(0.02)
    (actor,) = map(psutil.Process, saboteur.processes())
    (comfyui,) = actor.children()
    driver.kill()
    assert driver.wait(30) == -signal.SIGKILL
    _, alive = psutil.wait_procs([actor, comfyui], timeout=60)
    assert alive == []
    done = saboteur.journal.read_text().count("\n")
    table = [json.loads(row) | {"image": str(tmp_path / "red.png")} for row in rows]
    report = run_batch(tmp_path / "graph.json", table, tmp_path / "out", servers=[server.url], progress=False)
    assert done < len(rows) and report.ran == len(rows) - done and not report.failed
    lines = [json.loads(line)["row"] for line in saboteur.journal.read_text().splitlines()]
    assert sorted(lines) == list(range(1, len(rows) + 1))
