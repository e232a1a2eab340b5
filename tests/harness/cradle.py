"""The process of a nursery (nursery.py): python -s cradle.py CONNECTION FOLDER PACKAGE...

It imports packages, and then forks a process for everything that is to be run, which goes on as `python -s FILE` does.
"""

import contextlib
import gc
import importlib
import os
import runpy
import signal
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


def wait_for_requests(asked: Connection) -> Request | None:
    """What this process is to be, in every new one. In the first: None, when the tests have ended, however they did.

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
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    connection, folder, *packages = sys.argv[1:]
    os.chdir(folder)
    sys.path[0] = folder  # as for a file in it
    import_packages(packages)
    with Connection(int(connection)) as asked:
        request = wait_for_requests(asked)
    if request:
        become(*request)


if __name__ == "__main__":
    main()
