"""What an ONNX network of a face pack is for, from its first input and its outputs; no network is loaded.

An ONNX file is a protocol buffer (onnx.proto: ModelProto.graph = 7; GraphProto.input = 11, output = 12). Everything
else in it, the weights above all, is skipped.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

GRAPH, INPUT, OUTPUT = 7, 11, 12
LANDMARKS = 192  # pixels: side of the input of insightface's landmark networks
SMALLEST_FACE, FACE_STEP = 112, 16  # pixels: recognisers take squares from 112 up, in steps of 16
DETECTOR_OUTPUTS = 5  # detectors have six or nine outputs, scores and boxes per stride; all other networks fewer


def network_role(path: Path) -> str | None:
    """ "detection", "recognition" or "other" by insightface's own rules (its model_zoo); None for a damaged file."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            graph = next(((start, end) for number, start, end in _fields(file, 0, size) if number == GRAPH), None)
            if graph is None:
                return None
            ends = list(_fields(file, *graph))
            first = next(((start, end) for number, start, end in ends if number == INPUT), None)
            sides = _sides(file, *first) if first else []
    except (OSError, ValueError):
        return None
    if sum(number == OUTPUT for number, _, _ in ends) >= DETECTOR_OUTPUTS:
        return "detection"
    height, width = sides[2:4] if len(sides) == 4 else (0, 0)
    face = height == width >= SMALLEST_FACE and height % FACE_STEP == 0 and height != LANDMARKS
    return "recognition" if face else "other"


def _sides(file: BinaryIO, start: int, end: int) -> list[int]:
    """The shape of an input, 0 where it is not fixed: ValueInfoProto.type.tensor_type.shape.dim.dim_value."""
    for number in (2, 1, 2):
        start, end = next(((s, e) for found, s, e in _fields(file, start, end) if found == number), (end, end))
    dims = [(s, e) for number, s, e in _fields(file, start, end) if number == 1]
    return [next((value for number, value, _ in _fields(file, *dim) if number == -1), 0) for dim in dims]


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of every field with a length; (-number, value, value) of a whole number.

    Raises:
        ValueError: what lies there is no protocol buffer.
    """
    while start < end:
        file.seek(start)
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value = _varint(file)
            start = file.tell()
            yield -number, value, value
        elif kind == 2:
            length = _varint(file)
            begin = file.tell()
            start = begin + length
            if start > end:
                raise ValueError(f"a field ends at {start}, after the {end} that hold it")
            yield number, begin, start
        elif kind in (1, 5):  # 64 and 32 bits
            start = file.tell() + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"no field has the type {kind}")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("the file ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number is longer than 64 bits")
