"""Which worker gets which row."""

import threading

from headless.board import Board
from headless.plan import Row


def rows(count):
    return [Row(number, {}, {}, ()) for number in range(1, count + 1)]


def take(board, worker):
    row = board.take(worker)
    return row and row.number


def test_every_worker_gets_neighbours_and_the_idle_take_half_of_the_longest_run():
    board = Board(rows(9), 3)
    assert [take(board, 0), take(board, 1), take(board, 2)] == [1, 4, 7]
    assert [take(board, 0), take(board, 0), take(board, 0)] == [2, 3, 6]  # 5 stays with the second, 6 moved
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


def test_a_row_that_came_back_is_waited_for_and_fails_after_three_attempts():
    board = Board(rows(1), 2)
    row, got = board.take(0), []
    assert row
    other = threading.Thread(target=lambda: got.append(board.take(1)))
    other.start()
    assert board.give_back(row)
    other.join()
    assert got == [row]
    assert board.give_back(row) and board.take(0) is row
    assert not board.give_back(row)


def test_stopping_lets_nobody_wait():
    board = Board(rows(1), 2)
    board.take(0)
    waiting = threading.Thread(target=board.take, args=(1,))
    waiting.start()
    board.stop()
    waiting.join(5)
    assert not waiting.is_alive() and board.take(0) is None
