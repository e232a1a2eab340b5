"""Which worker gets which row, and what happens when a worker fails."""

import _thread
import io
import sys
import threading
import time

import pytest
import requests

from headless import __main__ as command
from headless.batch import Report
from headless.client import Client, Output
from headless.errors import RowFailed, ServerLost, Stopped
from headless.plan import Row
from headless.results import Outcome
from headless.work import ATTEMPTS, Board, run_rows
from headless.workers import Running


def rows(count):
    return [Row(number, {}, {}, ()) for number in range(1, count + 1)]


def take(board, worker):
    row = board.take(worker)
    return row and row.number


def test_workers_get_neighbours_and_take_half_of_the_longest_run_when_they_have_none():
    board = Board(rows(9), 3)
    assert [take(board, 0), take(board, 1), take(board, 2)] == [1, 4, 7]
    assert [take(board, 0), take(board, 0), take(board, 0)] == [2, 3, 6]  # 5 stays with the second worker, 6 moved
    for _ in range(9):
        board.finish()
    assert board.take(1) is None


def test_every_row_is_taken_once_by_many_threads():
    board, taken, lock = Board(rows(500), 8), [], threading.Lock()

    def work(worker):
        while row := board.take(worker):
            with lock:
                taken.append(row.number)
            board.finish()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 501))


def test_a_returned_row_is_waited_for_and_fails_after_all_attempts():
    board = Board(rows(1), 2)
    row, got = board.take(0), []
    assert row
    other = threading.Thread(target=lambda: got.append(board.take(1)))
    other.start()
    assert board.give_back(row)
    other.join()
    assert got == [row]
    assert board.give_back(row) and board.take(0) is row and board.attempts[1] == ATTEMPTS
    assert not board.give_back(row)


def test_stopping_ends_the_wait_for_rows():
    board = Board(rows(1), 2)
    board.take(0)
    waiting = threading.Thread(target=board.take, args=(1,))
    waiting.start()
    board.stop()
    waiting.join(5)
    assert not waiting.is_alive() and board.take(0) is None


class Raising(Running):
    """A worker that raises for some rows, and takes a moment for the others, so that every worker has some."""

    def __init__(self, name: str, errors, at_revival=None):
        self.name, self.errors, self.at_revival = name, errors, at_revival

    def run(self, row, timeout, stopped):
        time.sleep(0.02)
        if row.number in self.errors:
            raise self.errors[row.number]
        return Output([])

    def revive(self, stopped):
        if self.at_revival:
            raise self.at_revival


def ends_of(count, workers):
    """Rows as they end, by number, and what was said; fails where the batch hangs."""
    said, ends = [], {}

    def collect():
        for row, output, server, attempts in run_rows(rows(count), workers, 60, said.append):
            assert row.number not in ends
            ends[row.number] = (output, server, attempts)

    batch = threading.Thread(target=collect, daemon=True)
    batch.start()
    batch.join(10)
    assert not batch.is_alive(), f"the batch hangs after rows {sorted(ends)}"
    return ends, "\n".join(said)


def test_an_unexpected_error_ends_its_row_and_not_the_batch():
    errors = {2: KeyError("prompt_id"), 5: AssertionError(), 6: SystemExit("of a driver")}
    for workers in (1, 2):
        ends, said = ends_of(6, [Raising(f"worker {n}", errors) for n in range(workers)])
        assert sorted(ends) == [1, 2, 3, 4, 5, 6]
        failed = {number: output for number, (output, _, _) in ends.items() if isinstance(output, str)}
        assert failed == {
            2: "unexpected KeyError: 'prompt_id'",
            5: "unexpected AssertionError: ",
            6: "unexpected SystemExit: of a driver",
        }
        assert "Traceback" in said and "test_work.py" in said  # what a report of the error needs


def test_a_worker_whose_server_cannot_come_back_leaves_its_rows_to_the_others():
    lost = dict.fromkeys(range(1, 5), ServerLost("a server is gone"))
    for reason in (ServerLost("it did not come back"), OSError("no space left on device")):
        ends, said = ends_of(4, [Raising("lost", lost, reason), Raising("sound", {})])
        assert {server for _, server, _ in ends.values()} == {"sound"} and len(ends) == 4
        assert f"lost runs no more rows: {reason}" in said
        ends, _ = ends_of(4, [Raising("lost", lost, reason), Raising("lost too", lost, reason)])
        assert {output for output, _, _ in ends.values()} == {"no server is left to run this row"}


def test_a_failed_row_is_printed_where_the_output_s_encoding_lacks_its_letters(monkeypatch, tmp_path):
    """Python writes to files and pipes of Windows in such an encoding."""
    failed = Outcome(1, "", {}, error="加载: no such file")
    monkeypatch.setattr(command, "run_batch", lambda *_, **__: Report(tmp_path, [failed], tmp_path, None, 1))
    monkeypatch.setattr(sys, "argv", ["batch", "graph.json", "table.csv"])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "cp1252"))
    assert command.main() == 1
    sys.stdout.seek(0)
    assert r"row 1 failed: \u52a0\u8f7d: no such file" in sys.stdout.read()


def test_a_refusal_that_is_not_comfyui_s_is_quoted(monkeypatch):
    refusal = requests.Response()
    refusal.status_code, refusal._content = 413, b"<html>Request Entity Too Large</html>"
    client = Client("http://a-proxy", 60)
    monkeypatch.setattr(client, "call", lambda *_: refusal)
    with pytest.raises(RowFailed, match="http://a-proxy/prompt answered 413: <html>Request Entity Too Large"):
        client.run({}, 60, lambda: False)


def test_an_interrupt_that_wakes_no_thread_is_seen_while_a_row_runs():
    """`interrupt_main` sets a flag and wakes no thread, as Ctrl+C on Windows does."""

    class Interrupted(Raising):
        def run(self, row, timeout, stopped):
            time.sleep(0.2)  # until the main thread waits for the row
            _thread.interrupt_main()
            end = time.monotonic() + 10
            while time.monotonic() < end:
                if stopped():
                    raise Stopped
                time.sleep(0.02)
            return Output([])

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(run_rows(rows(1), [Interrupted("a worker", {})], 60, print))
    assert time.monotonic() - began < 5  # a row takes ten seconds
