"""Results that are expensive to compute, stored by the content of their inputs within a bound of bytes."""

import hashlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

T = TypeVar("T")


class ContentCache:
    """A thread-safe store of at most `max_bytes` of tensors, which drops the least recently used values first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = self.bytes = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, computed by `make` if it is missing. A value above the bound is returned but not stored.

        Values are shared, so callers must not change them. An exception of `make` is raised and not stored.
        """
        with self._lock:
            if key in self._entries:
                self.hits += 1
                self._entries.move_to_end(key)
                return self._entries[key][0]
            self.misses += 1
        value = make()  # without the lock, because encoding takes seconds and may use this cache itself
        size = tensor_bytes(value)
        with self._lock:
            if key in self._entries:
                return self._entries[key][0]  # another thread has stored it in the meantime: all share its value
            if size <= self.max_bytes:
                self._entries[key] = (value, size)
                self.bytes += size
            while self.bytes > self.max_bytes:
                self.bytes -= self._entries.popitem(last=False)[1][1]
        return value

    def clear(self) -> None:
        """Remove all values; the counts of hits and misses stay."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)


def tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in a value: a tensor, a dataclass, a mapping or a sequence of such."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, tuple | list):
        return sum(map(tensor_bytes, value))
    if isinstance(value, Mapping):
        return sum(map(tensor_bytes, value.values()))
    if is_dataclass(value):
        return sum(tensor_bytes(getattr(value, field.name)) for field in fields(value))
    return 0


class LiveTensors:
    """Results computed from tensors that are still alive, so that an unchanged tensor is not read again.

    ComfyUI passes the same tensor in every run until a node before ours changes. Changes in place are detected by the
    tensor's version counter. Tensors made in inference mode, as nearly all in ComfyUI are, have no such counter: for
    them, sums of their bits are compared, which reads all values in a twentieth of the time of a digest. For tensors
    with a counter, writes that bypass torch (through numpy, for example) are not detected.
    """

    def __init__(self) -> None:
        self._known: MutableMapping[Tensor, tuple[Hashable, dict[str, Any]]] = WeakIdKeyDictionary()

    def get_or_make(self, tensor: Tensor, name: str, make: Callable[[], T]) -> T:
        """The value of a tensor under a name, computed by `make` if it is missing; it must not refer to the tensor."""
        if type(tensor) is not Tensor or tensor.layout != torch.strided or not tensor.numel() or tensor.is_meta:
            return make()
        state = _state(tensor)
        known, values = self._known.get(tensor, (None, {}))
        if known != state:
            values = {}
            self._known[tensor] = (state, values)
        if name not in values:
            values[name] = make()
        return values[name]


LIVE = LiveTensors()


def _state(tensor: Tensor) -> Hashable:
    """A key that stays equal as long as a live tensor is the same view of the same, unchanged memory."""
    content = _bit_sums(tensor) if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), content


def _bit_sums(tensor: Tensor, columns: int = 512) -> bytes:
    """Sums of a tensor's memory as 64-bit numbers, over the rows and over the columns of a table 512 numbers wide.

    A single sum would stay equal if a picture were mirrored in place.
    """
    data = tensor.detach().contiguous().view(-1).view(torch.uint8)
    if len(data) % 8 or data.data_ptr() % 8:
        data = torch.nn.functional.pad(data, (0, -len(data) % 8))  # the copy is aligned for 64-bit numbers
    words = data.view(torch.int64)
    table, rest = words[: len(words) // columns * columns].view(-1, columns), words[len(words) // columns * columns :]
    return hashlib.blake2b(torch.cat((table.sum(0), table.sum(1), rest)).cpu().numpy().data).digest()


def digest(tensor: Tensor) -> bytes:
    """A digest of a tensor's values, shape and dtype: equal for equal tensors on any device and in any layout."""
    found = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=20)
    found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.digest()


def content_key(tensor: Tensor) -> bytes:
    """The digest of a tensor, computed once while the tensor is alive and unchanged."""
    return LIVE.get_or_make(tensor, "digest", lambda: digest(tensor))


def image_keys(images: Tensor) -> tuple[bytes, ...]:
    """The digest of each picture of a batch (n, h, w, 1, 3 or 4) without alpha, computed once like `content_key`."""
    return LIVE.get_or_make(images, "images", lambda: tuple(digest(image[..., :3].float()) for image in images))


_serials: MutableMapping[object, int] = WeakIdKeyDictionary()
_numbers = itertools.count(1)
_serials_lock = threading.Lock()


def serial(obj: object) -> int:
    """A number for a live object that, unlike id(), is never used for another object. It holds no strong reference."""
    with _serials_lock:
        if obj not in _serials:
            _serials[obj] = next(_numbers)
        return _serials[obj]


def live_serials() -> int:
    """How many live objects have a number."""
    return len(_serials)
