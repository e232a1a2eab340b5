"""Drawings for the page are kept, and forgotten in the end."""

import asyncio
import json

import pytest

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

from pack.nodes.live import limits, route


def body(width: int) -> bytes:
    inputs = {"value": 1.0, "width": width, "height": 8}
    return json.dumps({"draw": {"node": "IPAdapterSolidMask", "inputs": inputs}}).encode()


def test_a_drawing_is_made_once_and_only_the_latest_are_kept(monkeypatch):
    made = []
    monkeypatch.setattr(limits, "KEPT", 2)
    monkeypatch.setattr(route, "draw", lambda data, draw=route.draw: made.append(data) or draw(data))
    drawings = route.Drawings()
    pngs = [asyncio.run(drawings.png(body(width))) for width in (8, 8, 16, 8, 24, 16)]
    assert [data["draw"]["inputs"]["width"] for data in made] == [8, 16, 24, 16]
    assert pngs[0] == pngs[1] == pngs[3] and pngs[2] == pngs[5] != pngs[0]
