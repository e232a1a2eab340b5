"""Run ComfyUI for as long as the process that started it lives: python leash.py main.py ARGUMENTS.

Standard input is a pipe from that process. It closes when that process ends, however that happens, and then this ends.
"""

import os
import runpy
import sys
import threading


def wait_for_the_end() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
