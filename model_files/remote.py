"""Request a file's address, size and hash from the hub, before its download, by huggingface_hub's own protocol."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .errors import DownloadError
from .transfer import connection_errors

DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")  # the hub's ETag: SHA-256 of a large file, Git's hash of a small one


@dataclass(frozen=True)
class Wanted:
    """A file to download, from a repository of the hub or from an `address` outside of it."""

    name: str  # on the disk
    repository: str
    path: str
    address: str = ""
    sha256: str | None = None
    size: int | None = None
    pickle_allowed: bool = False
    zipped: bool = False  # a face pack, which is unpacked to a folder

    @property
    def page(self) -> str:
        """The file's address for people, without https://."""
        return self.address.partition("://")[2] or f"{self.repository}/{self.path}"

    def __str__(self) -> str:
        return f"{self.path} of {self.repository}"


@dataclass(frozen=True)
class Remote:
    """The address of a file's content, its size in bytes and its hash; None if the server sends neither."""

    url: str
    size: int | None = None
    digest: str | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)  # repr would show the token

    @property
    def identity(self) -> str:
        """A text that differs for files of different content, so a part is not continued with another file's bytes."""
        return f"{self.digest or self.url} {self.size}"


def look_up(wanted: Wanted) -> Remote:
    """Request a file's address, size and hash from the server.

    Raises:
        DownloadError: the file is gated or missing, or the server does not answer like a hub.
    """
    if wanted.address:
        return Remote(wanted.address, wanted.size, wanted.sha256)
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # here, since it is slow to import
    from huggingface_hub.utils import build_hf_headers

    page = hf_hub_url(wanted.repository, wanted.path, endpoint=os.environ.get("HF_ENDPOINT") or None)
    with explained(wanted):
        found = get_hf_file_metadata(page)  # with the user's token, if any
    if found.commit_hash is None:
        raise DownloadError(
            f"{urlsplit(page).netloc} does not answer like a model hub, so {wanted} cannot be fetched. If HF_ENDPOINT "
            "is set, check it; a proxy or a login page of your network may be in the way."
        )
    same_host = urlsplit(found.location).netloc == urlsplit(page).netloc
    headers = build_hf_headers() if same_host else build_hf_headers(token=False)  # no token for other hosts
    etag = (found.etag or "").lower()
    known = wanted.sha256 or (etag if DIGEST.fullmatch(etag) else None)
    return Remote(found.location, found.size, known, headers)


@contextmanager
def explained(wanted: Wanted) -> Iterator[None]:
    """Turn errors of the hub and the network into DownloadError; errors of the local disk pass unchanged."""
    from huggingface_hub import errors as hub

    # GatedRepoError comes first, since it is a subclass of RepositoryNotFoundError. The library's messages are not
    # repeated, since they may contain signed addresses.
    try:
        yield
    except hub.GatedRepoError as error:
        raise DownloadError(
            f"{wanted.repository} gives its files to people who accepted its terms only. Log in at "
            f"huggingface.co/{wanted.repository}, accept them, and set HF_TOKEN (or run: hf auth login)."
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise DownloadError(
            f"There is no repository {wanted.repository}, or it is private and your token does not open it. Check "
            "the name; for a private one set HF_TOKEN (or run: hf auth login)."
        ) from error
    except (hub.EntryNotFoundError, hub.RevisionNotFoundError) as error:
        raise DownloadError(f"{wanted.repository} has no file {wanted.path}. Check the name there.") from error
    except hub.OfflineModeIsEnabled as error:
        raise DownloadError(f"{wanted} cannot be fetched: HF_HUB_OFFLINE is set, and forbids it.") from error
    except connection_errors() as error:
        if getattr(error, "errno", None) is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise  # an error of the local disk
        status = getattr(getattr(error, "response", None), "status_code", None)
        said = f"the server said {status}" if status else f"{type(error).__name__} on the way"
        raise DownloadError(
            f"{wanted} could not be fetched: {said}. Check the connection and run it again: what has come is kept, "
            "and continued."
        ) from error
