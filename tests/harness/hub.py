"""A model hub on this computer: it speaks as much of the hub's protocol as a download sees.

Large files answer HEAD and GET with a redirect to another host (here: another name of this computer), as the hub does
to its storage; small ones are sent directly. Entries misbehave in the ways that networks and people do.
"""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Entry:
    """A file of the hub, and how it misbehaves."""

    content: bytes
    stored: bool = True  # large: in storage, with its SHA-256 as ETag; else sent by the hub, with Git's hash
    gated: bool = False  # only for people with a token
    etag: str | None = None  # sent in place of the file's own
    told: int | None = None  # the size in the answer to a HEAD request, in place of the file's own
    drops: int = 0  # how many times the connection is cut half-way
    ranges: bool = True  # whether the hub serves parts of a file
    pause: float = 0.0  # seconds of silence half-way

    @property
    def hash(self) -> str:
        git = hashlib.sha1(f"blob {len(self.content)}\0".encode() + self.content)
        return self.etag or (hashlib.sha256(self.content) if self.stored else git).hexdigest()


@dataclass
class Hub:
    """What a test puts in and reads back."""

    port: int
    entries: dict[str, Entry] = field(default_factory=dict)  # owner/name/path -> file
    commit: dict[str, str] = field(default_factory=lambda: {"X-Repo-Commit": COMMIT})  # what makes it a hub
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sent(self, header: str) -> list[str]:
        """What every request for bytes had in a header."""
        return [headers.get(header, "") for method, path, headers in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.hub.asked.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        if self.path.startswith("/storage/"):
            return self.send_bytes(self.hub.entries[self.path.removeprefix("/storage/")], {})
        repository, _, path = self.path.strip("/").partition("/resolve/main/")
        entry = self.hub.entries.get(f"{repository}/{path}")
        if not any(name.startswith(f"{repository}/") for name in self.hub.entries):
            return self.refuse(401, "RepoNotFound")
        if entry is None:
            return self.refuse(404, "EntryNotFound")
        if entry.gated and self.headers.get("Authorization") != "Bearer hf_right":
            return self.refuse(401, "GatedRepo")
        if not entry.stored:
            return self.send_bytes(entry, self.hub.commit | {"ETag": f'"{entry.hash}"'})
        location = f"http://localhost:{self.hub.port}/storage/{repository}/{path}"
        size = len(entry.content) if entry.told is None else entry.told
        told = {"X-Linked-ETag": f'"{entry.hash}"', "X-Linked-Size": str(size)}
        return self.reply(302, self.hub.commit | told | {"Location": location, "Content-Length": "0"})

    def refuse(self, status: int, code: str) -> None:
        self.reply(status, {"X-Error-Code": code, "X-Error-Message": code, "Content-Length": "0"})

    def send_bytes(self, entry: Entry, headers: dict[str, str]) -> None:
        start = 0
        if entry.ranges and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(entry.content) - 1}/{len(entry.content)}"
        body = entry.content[start:]
        self.reply(206 if start else 200, headers | {"Content-Length": str(len(body))})
        if self.command == "GET":
            if entry.drops:
                entry.drops -= 1
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            else:
                self.wfile.write(body[: len(body) // 2])
                time.sleep(entry.pause)
                self.wfile.write(body[len(body) // 2 :])

    def reply(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """A hub that is there as long as the block runs."""
    handler = type("Answers", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    handler.hub = Hub(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)  # so often it looks for the end
    thread.start()
    try:
        yield handler.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
