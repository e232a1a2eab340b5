"""Share the object that was opened from a file while it is in use, and open it again when the file has changed."""

import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class SharedFiles:
    """Objects by the file or folder that they were opened from; an object that nobody uses is dropped."""

    def __init__(self) -> None:
        self._opened: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
        self._lock = threading.Lock()

    def get_or_open(self, path: Path, open_it: Callable[[], T], *settings: Hashable) -> T:
        """The object of this file with these settings; `open_it` makes it where nobody uses one or the file changed.

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
    """The path, times, size and number on the disk of a file, which change with it. OSError where there is no file."""
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
