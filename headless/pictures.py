"""Pictures that rows name: files, or addresses on the local network. Servers get them under a hash of their content."""

import hashlib
import io
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from PIL import Image, UnidentifiedImageError

from .graph import Prompt

FOLDER = "batch"  # in a server's input folder
SCHEMES = ("http://", "https://")


@dataclass(frozen=True)
class Picture:
    """A picture's path or address, and its file name on servers."""

    source: str
    name: str

    @property
    def value(self) -> str:
        """The value that a Load Image node takes."""
        return f"{FOLDER}/{self.name}"

    def read(self) -> bytes:
        """The picture's bytes; ValueError when they have changed since the check."""
        data = read(self.source)
        if name_of(data) != self.name:
            raise ValueError(f"{self.source} has changed since the batch began.")
        return data


class Pictures:
    """The pictures of a batch, each read once for the check; relative paths begin at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_source: dict[str, Picture | str] = {}  # a text says what is wrong with the picture

    def find(self, source: str) -> Picture:
        """A picture by path or address; ValueError says what is wrong with it."""
        if source not in self.by_source:
            try:
                self.by_source[source] = self._open(source)
            except ValueError as error:
                self.by_source[source] = str(error)
        picture = self.by_source[source]
        if isinstance(picture, str):
            raise ValueError(picture)
        return picture

    def _open(self, source: str) -> Picture:
        source = source if source.startswith(SCHEMES) else str(self.folder / source)
        try:
            return Picture(source, name_of(read(source)))
        except UnidentifiedImageError:
            raise ValueError(f"{source} is not a picture") from None
        except (OSError, Image.DecompressionBombError) as error:  # requests' errors are OSErrors too
            raise ValueError(f"cannot read the picture {source}: {error.__class__.__name__}") from error

    def named_in(self, prompt: Prompt) -> tuple[Picture, ...]:
        """The pictures whose values stand in a graph."""
        values = {value for entry in prompt.values() for value in entry["inputs"].values() if isinstance(value, str)}
        pictures = (picture for picture in self.by_source.values() if isinstance(picture, Picture))
        return tuple(dict.fromkeys(picture for picture in pictures if picture.value in values))


def name_of(data: bytes) -> str:
    """A file name from a picture's hash and format; UnidentifiedImageError where the bytes are no picture."""
    with Image.open(io.BytesIO(data)) as opened:  # reads only the header
        suffix = (opened.format or "png").lower()
    return f"{hashlib.sha256(data).hexdigest()[:24]}.{suffix}"


def is_local(host: str) -> bool:
    """Whether all addresses of a host are in a private network or on this machine."""
    addresses = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    return all(ipaddress.ip_address(address).is_private for address in addresses)


def read(source: str) -> bytes:
    """The bytes at a path or address; ValueError for addresses outside the local network, OSError where it fails."""
    if not source.startswith(SCHEMES):
        return Path(source).read_bytes()
    if not is_local(urlsplit(source).hostname or ""):
        raise ValueError(f"{source} is not on the local network. Download it, and name the file.")
    answer = requests.get(source, timeout=60, allow_redirects=False)  # a redirect could lead to another network
    if answer.status_code != 200:
        raise ValueError(f"{source} answered {answer.status_code}.")
    return answer.content
