"""Paintings out of Debian's package gcompris-qt-data (from the WebMuseum, the works are old), never committed."""

import io
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from faces.assets import CACHE

PACKAGE = "gcompris-qt-data"
FOLDER = "/gcompris/src/activities/paintings/resource/"
PIECE = re.compile(r'image/(\w+\.webp)"\s*,\s*"x"\s*:\s*"([\d.]+)"\s*,\s*"y"\s*:\s*"([\d.]+)"')
CANVAS = (702, 515)  # width and height that the boards name


def available() -> bool:
    """Whether this is a Debian or one of its relatives."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg-deb"))


def painting(name: str) -> Tensor:
    """A painting (1, h, w, 3) in 0..1, put together from the pieces of a jigsaw, whose centres a board tells."""
    files = {path.removeprefix(FOLDER): data for path, data in resources(resource_file()) if path.startswith(FOLDER)}
    boards = [data.decode() for path, data in files.items() if path.startswith("board/")]
    board = next(text for text in boards if f"image/{name}_" in text)
    canvas = Image.new("RGBA", CANVAS)
    for piece, x, y in PIECE.findall(board):
        image = Image.open(io.BytesIO(files[f"image/{piece}"])).convert("RGBA")
        corner = [round(float(c) * side - own / 2) for c, side, own in zip((x, y), CANVAS, image.size, strict=True)]
        canvas.alpha_composite(image, (max(corner[0], 0), max(corner[1], 0)))
    whole = canvas.crop(canvas.getbbox()).convert("RGB")
    return torch.from_numpy(np.array(whole)).float()[None] / 255


def resource_file() -> Path:
    """paintings.rcc, out of the package as the system's own sources have it."""
    file = CACHE / "paintings" / "usr" / "share" / "gcompris-qt" / "rcc" / "paintings.rcc"
    if not file.is_file():
        folder = CACHE / "paintings"
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "--quiet", "download", PACKAGE], cwd=folder, check=True)
        package = next(folder.glob(f"{PACKAGE}_*.deb"))
        subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
        package.unlink()
        for other in file.parent.iterdir():
            if other != file:
                other.unlink()
    return file


def resources(file: Path) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of every file in a Qt resource file (format versions 2 and 3, big endian)."""
    data = file.read_bytes()
    magic, _, tree, content, names = struct.unpack(">4s4I", data[:20])
    assert magic == b"qres"

    def walk(node: int, path: str) -> Iterator[tuple[str, bytes]]:
        name, flags, first, second = struct.unpack(">IHII", data[tree + node * 22 : tree + node * 22 + 14])
        if node:
            length = int.from_bytes(data[names + name : names + name + 2], "big")
            path += "/" + data[names + name + 6 : names + name + 6 + 2 * length].decode("utf-16-be")
        if flags & 2:  # a folder: number of entries, index of the first
            for child in range(second, second + first):
                yield from walk(child, path)
        else:  # country and language, place of the bytes
            start = content + second
            length = int.from_bytes(data[start : start + 4], "big")
            stored = data[start + 4 : start + 4 + length]
            yield path, zlib.decompress(stored[4:]) if flags & 1 else stored

    yield from walk(0, "")
