"""Run rows on workers, a thread for each, until every row has ended."""

import queue
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

from .board import Board
from .client import Made
from .errors import BatchError, RowFailed, ServerLost, Stopped
from .plan import Row
from .workers import Worker

End = tuple[Row, Made | str, str, int]  # a row, what it made or its error, the server, how often it was tried


def start_all(workers: Sequence[Worker]) -> None:
    """Start workers side by side; BatchError names those that did not."""
    with ThreadPoolExecutor(len(workers)) as pool:
        errors = [future.exception() for future in [pool.submit(worker.start) for worker in workers]]
    if lost := [str(error) for error in errors if isinstance(error, ServerLost)]:
        raise BatchError("\n".join(lost))
    for error in errors:
        if error:
            raise error


def run_rows(
    rows: Sequence[Row], workers: Sequence[Worker], timeout: float, say: Callable[[str], None]
) -> Generator[End, None, None]:
    """Every row once, as each ends. Closing it early cancels what runs, and waits for that."""
    board = Board(rows, len(workers))
    ends: queue.Queue[End | None] = queue.Queue()

    def work(number: int, worker: Worker) -> None:
        try:
            while row := board.take(number):
                run_one(row, worker, board, ends, timeout, say)
        except Stopped:
            pass
        except ServerLost as error:
            say(f"{worker.name} is out: {error}")
        finally:
            ends.put(None)

    threads = [threading.Thread(target=work, args=item, daemon=True) for item in enumerate(workers)]
    for thread in threads:
        thread.start()
    working, left = len(threads), {row.number: row for row in rows}
    try:
        while working and left:
            end = ends.get()
            if end is None:
                working -= 1
                continue
            del left[end[0].number]
            yield end
        for row in left.values():
            yield row, "no server is left to run it", "", board.taken[row.number]
    finally:
        board.stop()
        for thread in threads:
            thread.join(20)


def run_one(
    row: Row, worker: Worker, board: Board, ends: "queue.Queue[End | None]", timeout: float, say: Callable[[str], None]
) -> None:
    """Run a row, or give it back and wait for the server to return."""
    try:
        result: Made | str = worker.run(row, timeout, lambda: board.stopped)
    except (RowFailed, ValueError, OSError) as error:  # the last two: a picture that changed or went away
        result = str(error)
    except ServerLost as error:
        say(f"{error}; row {row.number} goes to another")
        if not board.give_back(row):
            ends.put((row, f"tried {board.attempts} times; the last: {error}", worker.name, board.attempts))
            board.finish()
        worker.revive(board.is_over)
        return
    ends.put((row, result, worker.name, board.taken[row.number]))
    board.finish()
