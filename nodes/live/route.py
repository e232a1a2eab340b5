"""POST /ipadapter_atelier/draw: from a description to a PNG, or to a message about a value that a user typed."""

import asyncio
import hashlib
import io
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from server import PromptServer  # type: ignore[import-not-found]

from ...doctor.host_needs import DRAWINGS
from ..host import lacks
from . import limits
from .description import DescriptionError
from .drawings import draw

PATH = "/ipadapter_atelier/draw"


class Drawings:
    """Draws one request at a time, in its own thread, and caches the latest drawings."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "atelier-drawings")
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    async def png(self, body: bytes) -> bytes:
        """The drawing for the body of a request, as a PNG file; raises the errors of `draw`."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._draw, body)

    def _draw(self, body: bytes) -> bytes:
        key = hashlib.sha256(body).digest()
        if key not in self._kept:
            stream = io.BytesIO()
            draw(_read(body)).save(stream, "PNG", compress_level=1)
            self._kept[key] = stream.getvalue()
        self._kept.move_to_end(key)
        while len(self._kept) > limits.KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def _read(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DescriptionError("The body is not JSON.") from error
    if not isinstance(data, dict):
        raise DescriptionError("The body is not a JSON object.")
    return data


async def _body(request: web.Request) -> bytes:
    """The body of a request, which is not read beyond the limit."""
    body = bytearray()
    async for chunk in request.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > limits.BODY:
            raise DescriptionError(f"A description has up to {limits.BODY >> 20} MB.")
    return bytes(body)


def add_route() -> None:
    """Add the route to ComfyUI's server, once; does nothing if there is no server, or none with routes."""
    server = getattr(PromptServer, "instance", None)
    if server is None or lacks(DRAWINGS) or any(getattr(route, "path", None) == PATH for route in server.routes):
        return
    drawings = Drawings()

    @server.routes.post(PATH)
    async def answer(request: web.Request) -> web.Response:
        try:
            png = await drawings.png(await _body(request))
        except DescriptionError as error:
            return web.json_response({"message": str(error)}, status=400)
        except ValueError as error:  # about a value that the user typed; the node shows the message
            return web.json_response({"message": str(error)})
        return web.Response(body=png, content_type="image/png")
