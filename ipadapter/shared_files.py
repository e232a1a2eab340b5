"""What was opened from a file is shared while it is in use somewhere, and opened again when the file has changed."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class SharedFiles:
    """Objects by the file or folder that they were opened from, kept no longer than somebody uses them."""

    def __init__(self) -> None:
        self._opened: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
        self._lock = threading.Lock()

    def get_or_open(self, path: Path, open_it: Callable[[], T], *settings: Hashable) -> T:
        """What `open_it` gave for this file with these settings, opened now if nobody has it or the file changed.

        Whoever gets an object must not change it. Raises what `open_it` raises, and OSError where there is no file.
        """
        key = (fingerprint(path), *settings)
        with self._lock:
            if (opened := self._opened.get(key)) is not None:
                return opened
        opened = open_it()  # without the lock: files take seconds
        with self._lock:
            return self._opened.setdefault(key, opened)


def fingerprint(path: Path) -> tuple[Hashable, ...]:
    """What changes when a file does: its place, times, size and number on the disk. OSError where there is none."""
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
