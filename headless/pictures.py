"""Pictures that rows name: files, or addresses on the local network. They are uploaded under their content's hash."""

import hashlib
import io
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from PIL import Image, UnidentifiedImageError

FOLDER = "batch"  # below a server's input folder


@dataclass(frozen=True)
class Picture:
    """A picture, where it is, and the name it has on servers."""

    source: str
    name: str

    @property
    def value(self) -> str:
        """What a Load Image node is given."""
        return f"{FOLDER}/{self.name}"

    def read(self) -> bytes:
        """Its bytes; ValueError when they are no longer those that were checked."""
        data = read(self.source)
        if name_of(data) != self.name:
            raise ValueError(f"{self.source} has changed since the batch began.")
        return data


def name_of(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as opened:  # reads the header only
        ending = (opened.format or "png").lower()
    return f"{hashlib.sha256(data).hexdigest()[:24]}.{ending}"


def is_local(host: str) -> bool:
    """Whether a host's addresses all lie in a private network or on this machine."""
    found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_private for address in found)


def read(source: str) -> bytes:
    if not source.startswith(("http://", "https://")):
        return Path(source).read_bytes()
    if not is_local(urlsplit(source).hostname or ""):
        raise ValueError(f"{source} is not on the local network. Download it, and name the file.")
    answer = requests.get(source, timeout=60, allow_redirects=False)  # a redirect could lead anywhere
    if answer.status_code != 200:
        raise ValueError(f"{source} answered {answer.status_code}.")
    return answer.content


def find_picture(source: str, folder: Path) -> Picture:
    """A picture by address, or by path from a folder; ValueError says what is wrong with it."""
    if not source.startswith(("http://", "https://")):
        source = str(folder / source)
    try:
        return Picture(source, name_of(read(source)))
    except UnidentifiedImageError:
        raise ValueError(f"{source} is not a picture") from None
    except OSError as error:  # requests' errors are OSErrors too
        raise ValueError(f"cannot read the picture {source}: {error.__class__.__name__}") from error
