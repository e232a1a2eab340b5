"""The process of a nursery (nursery.py): python -s nursery_process.py LISTENER FOLDER PACKAGE...

It imports packages, and forks a process for everyone who connects. That one, on request, forks processes which go on as
`python -s FILE` does in that folder.
"""

import contextlib
import gc
import importlib
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

Request = tuple[list[str], dict[str, str], str]  # arguments, environment and log file of a process


def import_packages(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):  # one that this ComfyUI does without
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection would write to the memory that all processes share, and so copy it


def wait_for_clients(listener: socket.socket, packages: Sequence[str]) -> Connection | None:
    """In every fork, the connection that it is for. In the first process: None, when the one that started it ended."""
    select.select([listener, sys.stdin], [], [])  # a run without servers sends no request
    import_packages(packages)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        client, _ = listener.accept()
        if os.fork() == 0:
            return Connection(client.detach())
        client.close()
    return None


def wait_for_requests(asked: Connection) -> Request | None:
    """In every fork, what it is to be. In the process of the connection: None, when the client ended, however it did.

    A request is answered with the id of the new process, and the id of a process with its exit code or None.
    """
    running: set[int] = set()
    while True:
        try:
            request: Request | int = asked.recv()
        except EOFError:
            for process in running:
                os.kill(process, signal.SIGKILL)
            return None
        if isinstance(request, int):
            ended, status = os.waitpid(request, os.WNOHANG)
            running -= {ended}
            asked.send(os.waitstatus_to_exitcode(status) if ended else None)
        elif process := os.fork():
            running.add(process)
            asked.send(process)
        else:
            return request


def become(arguments: list[str], environment: dict[str, str], log: str) -> None:
    with open(os.devnull) as nothing, open(log, "wb") as file:
        for number, stream in enumerate((nothing, file, file)):
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    number, folder, *packages = sys.argv[1:]
    os.chdir(folder)
    sys.path[0] = folder  # as for a file in it
    with socket.socket(fileno=int(number)) as listener:
        client = wait_for_clients(listener, packages)
    if client:
        with client:
            request = wait_for_requests(client)
        if request:
            become(*request)


if __name__ == "__main__":
    main()
