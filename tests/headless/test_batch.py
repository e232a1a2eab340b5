"""Batches on a real ComfyUI: their results, the rows that run again, broken pictures and interrupts."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from graphs import graph, write_broken, write_pictures
from PIL import Image
from pyarrow import parquet

from harness.host import ROOT
from headless import BatchError, run_batch


@pytest.fixture
def inputs(tmp_path):
    """A folder with the graph, three pictures, and a picture with a sound header and broken pixels."""
    write_pictures(tmp_path, ["red", "green", "blue"])
    write_broken(tmp_path / "broken.webp")
    (tmp_path / "graph.json").write_text(json.dumps(graph()))
    return tmp_path


def rows_of(folder):
    return parquet.read_table(folder / "results.parquet").to_pylist()


def pixels(file):
    with Image.open(file) as opened:
        return np.asarray(opened)


def run(inputs, server, table, name="out", **more):
    for row in table:
        row["image"] = str(inputs / row["image"])
    return run_batch(inputs / "graph.json", table, inputs / name, servers=[server.url], progress=False, **more)


def test_a_batch_writes_pictures_a_table_and_a_sheet_and_runs_no_row_twice(inputs, server):
    (inputs / "table.csv").write_text("image,What to draw.words\nred.png,house\nblue.png,fish\n")
    options = {"grid": {"weight": ["0.2", "0.9"]}, "servers": [server.url], "progress": False}
    report = run_batch(inputs / "graph.json", inputs / "table.csv", inputs / "out", **options)
    rows = rows_of(inputs / "out")
    assert [(row["row"], row["image"], row["What to draw.words"], row["weight"], row["error"]) for row in rows] == [
        (1, "red.png", "house", 0.2, None),
        (2, "red.png", "house", 0.9, None),
        (3, "blue.png", "fish", 0.2, None),
        (4, "blue.png", "fish", 0.9, None),
    ]
    assert all(row["seconds"] > 0 and row["server"] == server.url and row["attempts"] == 1 for row in rows)
    with Image.open(inputs / "out" / rows[1]["file"]) as picture:
        assert json.loads(picture.info["batch"])["values"]["weight"] == 0.9
        assert json.loads(picture.info["prompt"])["3"]["inputs"]["weight"] == 0.9
    assert len({pixels(inputs / "out" / row["file"]).tobytes() for row in rows}) == 4
    assert report.sheet and report.ran == 4
    (inputs / "out" / rows[2]["file"]).unlink()
    again = run_batch(inputs / "graph.json", inputs / "table.csv", inputs / "out", **options)
    assert again.ran == 1 and [row["file"] for row in rows_of(inputs / "out")] == [row["file"] for row in rows]


def test_scores_are_columns_of_the_results(inputs, server):
    scored = graph()
    links = {"images": ["8", 0], "clip_vision": ["1", 1], "references": ["2", 0]}
    scored["10"] = {"class_type": "IPAdapterScore", "inputs": links | {"prompt": ""}, "_meta": {"title": "Likeness"}}
    table = [{"image": str(inputs / "red.png"), "weight": weight} for weight in (0.0, 1.0)]
    report = run_batch(scored, table, inputs / "out", servers=[server.url], progress=False)
    without, followed = (row["Likeness.clip_i"] for row in rows_of(inputs / "out"))
    assert without != followed and all(-1 <= score <= 1 for score in (without, followed))
    assert "Likeness.clip_t" not in rows_of(inputs / "out")[0]  # there was no prompt to measure against
    assert [len(outcome.files) for outcome in report.outcomes] == [1, 1]  # the score's chart is no result


def test_a_broken_picture_fails_only_its_row_which_runs_again_when_the_picture_is_sound(inputs, server):
    table = [{"image": name, "seed": seed} for seed in (1, 2) for name in ("red.png", "broken.webp", "blue.png")][:5]
    report = run(inputs, server, table[:])
    assert [outcome.row for outcome in report.failed] == [2, 5]
    assert all("LoadImage" in str(outcome.error) for outcome in report.failed)
    (inputs / "broken.webp").write_bytes((inputs / "green.png").read_bytes())
    again = run(inputs, server, table[:])
    assert again.ran == 2 and not again.failed and [row["error"] for row in rows_of(inputs / "out")] == [None] * 5


def test_a_row_is_the_picture_that_the_server_makes_of_its_graph(inputs, server):
    report = run(inputs, server, [{"image": "green.png", "seed": 2**64 - 1}])
    prompt = graph()
    prompt["2"]["inputs"]["image"] = "ours.png"
    prompt["7"]["inputs"]["seed"] = 2**64 - 1
    (server.base / "input" / "ours.png").write_bytes((inputs / "green.png").read_bytes())
    (made,) = server.run(prompt).images("9")
    assert np.array_equal(np.asarray(made), pixels(report.folder / report.outcomes[0].files[0]))
    assert rows_of(inputs / "out")[0]["seed"] == 2**64 - 1


def test_no_row_runs_while_the_table_or_a_server_has_problems(inputs, server):
    before = len(server.call("/history"))
    with pytest.raises(BatchError, match="row 2, image: cannot read(.|\n)*row 2, steps"):
        run(inputs, server, [{"image": "red.png", "steps": 2}, {"image": "gone.png", "steps": 0}])
    assert len(server.call("/history")) == before
    with pytest.raises(BatchError, match="no ComfyUI at http://127.0.0.1:9"):
        run_batch(graph(), [{"seed": 1}], inputs / "none", servers=["http://127.0.0.1:9"], progress=False)


ROWS = 12  # enough that a busy machine looks at the journal before the last one is done


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_batch_that_ends_early_leaves_whole_files_and_the_next_runs_the_rest(inputs, server, how):
    lines = [json.dumps({"image": "red.png", "seed": seed, "steps": 8}) for seed in range(ROWS)]
    (inputs / "table.jsonl").write_text("\n".join(lines))
    command = [sys.executable, "-m", "headless", str(inputs / "graph.json"), str(inputs / "table.jsonl")]
    command += ["-o", str(inputs / "out"), "--server", server.url]
    driver = subprocess.Popen(command, cwd=inputs, env=os.environ | {"PYTHONPATH": str(ROOT)})
    journal = inputs / "out" / "results.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and (not journal.exists() or journal.read_text().count("\n") < 2):
        time.sleep(0.02)
    driver.send_signal(how)
    assert driver.wait(30) == {signal.SIGINT: 130, signal.SIGKILL: -9}[how]
    done = [json.loads(line) for line in journal.read_text().splitlines()]
    assert 2 <= len(done) < ROWS
    for outcome in done:
        pixels(inputs / "out" / outcome["files"][0])
    if how == signal.SIGINT:
        assert len(rows_of(inputs / "out")) == len(done) and not list((inputs / "out").rglob("*.part"))
        assert len(list((inputs / "out" / "pictures").iterdir())) == len(done)
        assert server.call("/queue") == {"queue_running": [], "queue_pending": []}
    finished = subprocess.run(command, cwd=inputs, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert finished.returncode == 0 and f"{ROWS - len(done)} were run now" in finished.stdout.decode()
    assert [row["seed"] for row in rows_of(inputs / "out")] == list(range(ROWS))
