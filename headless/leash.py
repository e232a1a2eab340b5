"""Run ComfyUI for as long as the process that started it lives: python leash.py main.py ARGUMENTS.

Standard input is a pipe from that process. It closes when that process ends in any way, and then this process ends.
"""

import os
import runpy
import sys
import threading


def end_with_the_pipe() -> None:
    """End this process when standard input closes."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_pipe, daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
