"""Keep what is expensive to make, by the content that it was made from, within a bound of bytes."""

import hashlib
import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class ContentCache:
    """A store of at most `max_bytes` of tensors that forgets what was used longest ago; safe to use from threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = self.bytes = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value under a key, made now if it is not there; a value over the bound is made and not kept.

        Values are shared: whoever gets one must not change it. What goes wrong in `make` is raised and not kept.
        """
        with self._lock:
            if key in self._entries:
                self.hits += 1
                self._entries.move_to_end(key)
                return self._entries[key][0]
            self.misses += 1
        value = make()  # without the lock: encoding takes seconds, and may ask this cache for something else
        size = tensor_bytes(value)
        with self._lock:
            if key in self._entries:
                return self._entries[key][0]  # another thread was faster; everybody shares the first
            if size <= self.max_bytes:
                self._entries[key] = (value, size)
                self.bytes += size
            while self.bytes > self.max_bytes:
                self.bytes -= self._entries.popitem(last=False)[1][1]
        return value

    def clear(self) -> None:
        """Forget everything; the counts of hits and misses stay."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)


def tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in a value: a tensor, a dataclass, a mapping or a sequence of such."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(tensor_bytes, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(tensor_bytes, value))
    if is_dataclass(value):
        return sum(tensor_bytes(getattr(value, field.name)) for field in fields(value))
    return 0


def content_key(tensor: Tensor) -> bytes:
    """A digest of a tensor's values, shape and type: equal for equal tensors, whatever their device or layout."""
    digest = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=20)
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(data.numpy().data)
    return digest.digest()


_serials: dict[int, tuple[weakref.ref, int]] = {}
_numbers = itertools.count(1)
_serials_lock = threading.RLock()  # a weak reference's callback can come while the same thread holds it


def serial(obj: object) -> int:
    """A number for a live object that no other object ever gets, unlike id(); the object is not kept alive by it."""
    with _serials_lock:
        known = _serials.get(id(obj))
        if known is not None and known[0]() is obj:
            return known[1]
        address, number = id(obj), next(_numbers)

        def forget(ref: weakref.ref) -> None:
            with _serials_lock:
                if _serials.get(address, (None,))[0] is ref:
                    del _serials[address]

        _serials[address] = (weakref.ref(obj, forget), number)
        return number


def live_serials() -> int:
    """How many live objects have a number."""
    return len(_serials)
