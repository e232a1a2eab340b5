"""Which row is whose: runs of neighbours for every worker, so that each reuses what it has loaded."""

import threading
from collections import Counter, deque
from collections.abc import Sequence

from .plan import Row


class Board:
    """Rows to take, and rows that came back. Who has none left takes half of the longest run.

    A row that came back goes to another worker first; after `attempts` it has failed.
    """

    def __init__(self, rows: Sequence[Row], workers: int, attempts: int = 3) -> None:
        size = -(-len(rows) // workers)
        self.runs = [deque(rows[size * i : size * (i + 1)]) for i in range(workers)]
        self.returned: deque[Row] = deque()
        self.left = len(rows)
        self.attempts = attempts
        self.taken: Counter[int] = Counter()
        self.changed = threading.Condition()
        self.stopped = False

    def take(self, worker: int) -> Row | None:
        """The next row; waits while others may still give one back, and None when there is nothing left to do."""
        with self.changed:
            while self.left and not self.stopped:
                if row := self.next(worker):
                    self.taken[row.number] += 1
                    return row
                self.changed.wait()
            return None

    def next(self, worker: int) -> Row | None:
        if self.returned:
            return self.returned.popleft()
        if not self.runs[worker]:
            longest = max(self.runs, key=len)
            half = [longest.pop() for _ in range(-(-len(longest) // 2))]
            self.runs[worker].extend(reversed(half))
        return self.runs[worker].popleft() if self.runs[worker] else None

    def finish(self) -> None:
        """A row is done or has failed."""
        with self.changed:
            self.left -= 1
            self.changed.notify_all()

    def give_back(self, row: Row) -> bool:
        """A row whose server was lost; False when it was tried often enough, and has failed."""
        with self.changed:
            if self.taken[row.number] >= self.attempts:
                return False
            self.returned.append(row)
            self.changed.notify_all()
            return True

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def is_over(self) -> bool:
        return self.stopped or not self.left
