"""Download the content of an address to a file, which may hold the first bytes of it already."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import DownloadError

log = logging.getLogger(__name__)
TRIES, PAUSE, TIMEOUT = 5, 1.0, 20.0  # tries without a new byte; seconds between tries; seconds without an answer
Grown = Callable[[int], None]


def transfer(url: str, headers: dict[str, str], part: Path, size: int | None, grown: Grown) -> None:
    """Append to `part` until it holds the whole content of `url`, over several connections if they break.

    `size` is the expected size in bytes, if known. `grown` gets the length of the part in bytes after every write; an
    exception in it stops the download and leaves the part for the next try.

    Raises:
        DownloadError: the length of the part differs from `size`.
        one of connection_errors(): the server answers with an error, or TRIES connections in a row bring no new byte.
    """
    tries = TRIES
    while True:
        before = _length(part)
        try:
            _continue(url, headers, part, grown)
            break
        except connection_errors() as error:
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
                raise  # an error of the local disk
            tries = TRIES if _length(part) > before else tries - 1
            if getattr(error, "response", None) is not None or tries == 0:
                raise  # the server answered with an error, and would do so again
            log.info("The connection broke after %d bytes; it is taken up again", _length(part))
            time.sleep(PAUSE)
    if size is not None and _length(part) != size:
        if (found := _length(part)) > size:
            part.unlink()  # a part that is too short stays, and can be continued
        raise DownloadError(f"The server sent {found} bytes of {size} that it announced: run it again.")


def _continue(url: str, headers: dict[str, str], part: Path, grown: Grown) -> None:
    from huggingface_hub.utils import hf_raise_for_status

    have = _length(part)
    wanted = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with _response(url, wanted) as (response, chunks):
        if response.status_code == 416:  # the part is complete or too long: `transfer` compares its length
            return
        hf_raise_for_status(response)
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        with part.open("ab" if have and goes_on else "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                grown(file.tell())


@contextmanager
def _response(url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """A response and its bytes in chunks, from httpx (huggingface_hub 1.0 and later) or requests (before 1.0)."""
    from huggingface_hub.utils import get_session

    session: Any = get_session()
    if hasattr(session, "stream"):
        with session.stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
            yield response, response.iter_raw()
    else:
        with session.get(url, headers=headers, timeout=TIMEOUT, stream=True) as response:
            yield response, response.iter_content(1 << 16)


def connection_errors() -> tuple[type[Exception], ...]:
    """The exceptions of the hub's client: its own class and its bases, among them the HTTP library's and OSError."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(error for error in HfHubHTTPError.__mro__ if issubclass(error, Exception) and error is not Exception)


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
