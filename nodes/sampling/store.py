"""A store of keys, values and masks that sites need again in the next step, on the device where they are used."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch

from ...ipadapter.cache import tensor_bytes

T = TypeVar("T")
BUDGET = 256 * 2**20  # bytes that the Store of one model may hold while the model samples


class Store:
    """At most `max_bytes` of keys, values and masks; safe to use from one thread per device.

    Every step needs the same tensors in the same order. So the first tensors stay when the bound is reached: a least
    recently used policy would drop each tensor just before it is needed again.
    """

    def __init__(self, max_bytes: int = BUDGET) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = self.bytes = 0
        self._values: dict[Hashable, Any] = {}
        self._sigma: float | None = None  # of the values in `_of_moment`
        self._of_moment: dict[Hashable, Any] = {}
        self._bytes_of_moment = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> tuple[T, bool]:
        """The value of a key, computed by `make` if it is missing, and whether it is stored: not above the bound."""
        if (value := self._values.get(key)) is not None:
            self.hits += 1
            return value, True
        return self._put(self._values, key, make)

    def get_at(self, sigma: float | None, key: Hashable, make: Callable[[], T]) -> T:
        """Like `get`, for a value of one sigma. The first call for another sigma drops all values of this one."""
        if sigma != self._sigma:
            self._drop_moment()
            self._sigma = sigma
        if (value := self._of_moment.get(key)) is not None:
            self.hits += 1
            return value
        return self._put(self._of_moment, key, make)[0]

    def clear(self) -> None:
        """Drop all tensors."""
        with self._lock:
            self._values.clear()
            self._of_moment.clear()
            self._sigma, self.bytes, self._bytes_of_moment = None, 0, 0

    def __len__(self) -> int:
        return len(self._values) + len(self._of_moment)

    def _put(self, values: dict[Hashable, Any], key: Hashable, make: Callable[[], T]) -> tuple[T, bool]:
        # Samplers with gradients cannot use inference tensors, so stored tensors are made outside of inference mode.
        with torch.inference_mode(False), torch.no_grad():
            value = make()
        size = tensor_bytes(value)
        with self._lock:
            self.misses += 1
            if key in values:  # another thread stored it in the meantime: all patches use the first value
                return values[key], True
            if self.bytes + size > self.max_bytes:
                return value, False
            values[key] = value
            self.bytes += size
            self._bytes_of_moment += size if values is self._of_moment else 0
        return value, True

    def _drop_moment(self) -> None:
        with self._lock:
            self.bytes -= self._bytes_of_moment
            self._bytes_of_moment = 0
            self._of_moment.clear()
