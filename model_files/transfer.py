"""Bring the bytes of one address into a file that may hold its beginning already."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import DownloadError

log = logging.getLogger(__name__)
TRIES, PAUSE, TIMEOUT = 5, 1.0, 20.0  # tries without a single new byte; seconds between them; seconds of silence
Grown = Callable[[int], None]


def transfer(url: str, headers: dict[str, str], part: Path, size: int | None, grown: Grown) -> None:
    """Continue `part` until the address has no more, over as many connections as it takes.

    `grown` gets the length of the part after every write; an error that it raises stops the download, and the part
    stays. Raises what the hub's client raises when the connection fails TRIES times in a row, and DownloadError for
    another length.
    """
    tries = TRIES
    while True:
        before = _length(part)
        try:
            _continue(url, headers, part, grown)
            break
        except connection_errors() as error:
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
                raise  # this computer's disk
            tries = TRIES if _length(part) > before else tries - 1
            if getattr(error, "response", None) is not None or tries == 0:
                raise  # an answer, which would be the same again
            log.info("The connection broke after %d bytes; it is taken up again", _length(part))
            time.sleep(PAUSE)
    if size is not None and _length(part) != size:
        if (found := _length(part)) > size:
            part.unlink()  # a shorter one can be continued
        raise DownloadError(f"The server sent {found} bytes of {size} that it announced: run it again.")


def _continue(url: str, headers: dict[str, str], part: Path, grown: Grown) -> None:
    from huggingface_hub.utils import hf_raise_for_status

    have = _length(part)
    wanted = {**headers, "Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with _response(url, wanted) as (response, chunks):
        if response.status_code == 416:  # the part is whole, or longer than the file: its length is compared next
            return
        hf_raise_for_status(response)
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        with part.open("ab" if have and goes_on else "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                grown(file.tell())


@contextmanager
def _response(url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """An answer and its bytes as they come, from httpx (huggingface_hub 1.0 and later) or from requests (before)."""
    from huggingface_hub.utils import get_session

    session: Any = get_session()
    if hasattr(session, "stream"):
        with session.stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
            yield response, response.iter_raw()
    else:
        with session.get(url, headers=headers, timeout=TIMEOUT, stream=True) as response:
            yield response, response.iter_content(1 << 16)


def connection_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises: its own error, that of its HTTP library, and the system's."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(error for error in HfHubHTTPError.__mro__ if issubclass(error, Exception) and error is not Exception)


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
