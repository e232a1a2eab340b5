"""Read the role of a face pack's ONNX network from its first input and its outputs, without loading the network.

An ONNX file is a protocol buffer (onnx.proto: ModelProto.graph = 7; GraphProto.input = 11, output = 12). All other
fields, mainly the weights, are skipped.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

GRAPH, INPUT, OUTPUT = 7, 11, 12
LANDMARKS = 192  # pixels: side of the input of insightface's landmark networks
SWAPPER = 128  # pixels: side of the input of insightface's face swappers, which have a second input, a face vector
SMALLEST_FACE, FACE_STEP = 112, 16  # pixels: a recogniser's input is a square of 112, 128, 144...
DETECTOR_OUTPUTS = 5  # detectors have six or nine outputs, scores and boxes per stride; other networks at most four


def network_role(path: Path) -> str | None:
    """The role "detection", "recognition" or "other", by insightface's rules (model_zoo); None for a damaged file."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            graph = next(((start, end) for number, start, end in _fields(file, 0, size) if number == GRAPH), None)
            if graph is None:
                return None
            ends = list(_fields(file, *graph))
            inputs = [(start, end) for number, start, end in ends if number == INPUT]
            sides = _sides(file, *inputs[0]) if inputs else []
    except (OSError, ValueError):
        return None
    if sum(number == OUTPUT for number, _, _ in ends) >= DETECTOR_OUTPUTS:
        return "detection"
    height, width = sides[2:4] if len(sides) == 4 else (0, 0)
    face = height == width >= SMALLEST_FACE and height % FACE_STEP == 0 and height != LANDMARKS
    if height == width == SWAPPER and len(inputs) == 2:
        return "other"
    return "recognition" if face else "other"


def _sides(file: BinaryIO, start: int, end: int) -> list[int]:
    """The shape of an input (ValueInfoProto.type.tensor_type.shape.dim.dim_value), with 0 for a side that varies."""
    for number in (2, 1, 2):
        start, end = next(((s, e) for found, s, e in _fields(file, start, end) if found == number), (end, end))
    dims = [(s, e) for number, s, e in _fields(file, start, end) if number == 1]
    return [next((value for number, value, _ in _fields(file, *dim) if number == -1), 0) for dim in dims]


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a protocol buffer between two offsets in bytes.

    Yields (number, start, end) for a field with a length, and (-number, value, value) for a whole number.

    Raises:
        ValueError: the bytes are not a protocol buffer.
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
