"""Run rows on workers, in a thread for each worker, until every row has ended."""

import queue
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

from .client import Output
from .errors import BatchError, RowFailed, ServerLost, Stopped
from .plan import Row
from .workers import Worker

End = tuple[Row, Output | str, str, int]  # a row, its output or its error, the worker's name, the number of attempts
ATTEMPTS = 3  # of a row whose server is lost
POLL = 0.5  # seconds; on Windows, Python handles Ctrl+C only between waits


class Board:
    """Hands out rows: neighbours go to the same worker, which then reuses what its server has loaded.

    A worker without rows takes half of the longest run of another. A row whose server is lost goes to the next worker
    that is free; after `ATTEMPTS` attempts the row has failed.
    """

    def __init__(self, rows: Sequence[Row], workers: int) -> None:
        size = -(-len(rows) // workers)
        self.runs = [deque(rows[size * i : size * (i + 1)]) for i in range(workers)]
        self.returned: deque[Row] = deque()
        self.left = len(rows)
        self.attempts: Counter[int] = Counter()
        self.changed = threading.Condition()
        self.stopped = False

    def take(self, worker: int) -> Row | None:
        """The next row; waits while another worker may still return a row. None when the batch is over."""
        with self.changed:
            while not self.is_over():
                if row := self._next(worker):
                    self.attempts[row.number] += 1
                    return row
                self.changed.wait()
            return None

    def _next(self, worker: int) -> Row | None:
        if self.returned:
            return self.returned.popleft()
        if not self.runs[worker]:
            longest = max(self.runs, key=len)
            half = [longest.pop() for _ in range(-(-len(longest) // 2))]
            self.runs[worker].extend(reversed(half))
        return self.runs[worker].popleft() if self.runs[worker] else None

    def finish(self) -> None:
        """Count a row as ended, whether it is done or has failed."""
        with self.changed:
            self.left -= 1
            self.changed.notify_all()

    def give_back(self, row: Row) -> bool:
        """Return a row whose server is lost; False when the row has had all its attempts."""
        with self.changed:
            if self.attempts[row.number] >= ATTEMPTS:
                return False
            self.returned.append(row)
            self.changed.notify_all()
            return True

    def stop(self) -> None:
        """End the batch early: `take` returns None from now on."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def is_over(self) -> bool:
        """Whether no row is left to run."""
        return self.stopped or not self.left


def start_all(workers: Sequence[Worker]) -> None:
    """Start workers side by side.

    Raises:
        BatchError: servers that do not answer or do not start; the message names all of them.
    """
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
    """Yield every row once, as it ends; a row may take `timeout` seconds, and `say` writes a line for the user.

    Closing the generator early cancels the rows that run, and waits for the workers.
    """
    board = Board(rows, len(workers))
    ends: queue.Queue[End] = queue.Queue()
    crew = [(number, worker, board, ends, timeout, say) for number, worker in enumerate(workers)]
    threads = [threading.Thread(target=work, args=each, daemon=True) for each in crew]
    for thread in threads:
        thread.start()
    left = {row.number: row for row in rows}
    try:
        while left and (any(thread.is_alive() for thread in threads) or not ends.empty()):
            try:
                end = ends.get(timeout=POLL)
            except queue.Empty:
                continue
            del left[end[0].number]
            yield end
        for row in left.values():
            yield row, "no server is left to run this row", "", board.attempts[row.number]
    finally:
        board.stop()
        for thread in threads:
            thread.join(20)


def work(
    number: int, worker: Worker, board: Board, ends: queue.Queue[End], timeout: float, say: Callable[[str], None]
) -> None:
    """Run rows of a board on the worker of this number until the batch is over, and put each into `ends` as it ends."""

    def finish(row: Row, output: Output | str) -> None:
        ends.put((row, output, worker.name, board.attempts[row.number]))
        board.finish()

    try:
        while row := board.take(number):
            try:
                finish(row, run_one(row, worker, board, timeout))
            except Stopped:
                return
            except ServerLost as error:
                if board.give_back(row):
                    say(f"{error}; row {row.number} goes to another worker")
                else:
                    finish(row, f"the server was lost {ATTEMPTS} times; the last time: {error}")
                worker.revive(board.is_over)
            except BaseException as error:  # SystemExit too: else the others would wait for this row for ever
                finish(row, f"unexpected {type(error).__name__}: {error}")
                say(f"row {row.number}, an error that headless/ does not expect:\n{traceback.format_exc()}")
    except Stopped:
        pass
    except BaseException as error:  # `revive` failed: this worker ends, and the others run its rows
        say(f"{worker.name} runs no more rows: {error or repr(error)}")


def run_one(row: Row, worker: Worker, board: Board, timeout: float) -> Output | str:
    """A row's output, or its error.

    Raises:
        ServerLost, Stopped: the row has not ended.
    """
    try:
        return worker.run(row, timeout, lambda: board.stopped)
    except (RowFailed, ValueError, OSError) as error:  # ValueError, OSError: a picture that changed or was removed
        return str(error)
