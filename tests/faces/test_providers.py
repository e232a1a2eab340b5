"""Workflows that name a provider which the installed onnxruntime lacks: they run, and the log and the node say so."""

import asyncio
import shutil

import aiohttp
import pytest

from faces import assets
from harness.client import CLIENT
from harness.graph import Graph
from pack.encoders.face_models import fallback_note


@pytest.fixture
def faces_server(server):
    assets.write_face_packs(server.base / "models" / "insightface" / "models", (assets.PACK,))
    shutil.copy(assets.PHOTOS["astronaut"](), server.base / "input" / "astronaut.png")
    return server


def cut_face(provider: str) -> Graph:
    g = Graph()
    image = g.add("LoadImage", image="astronaut.png")
    pack = g.add("IPAdapterInsightFaceLoader", provider=provider, model_name=assets.PACK)
    cut = g.add("IPAdapterFaceCrop", image=image[0], size=256, crop="box", padding=0.2, insightface=pack[0])
    g.save("face", cut[0])
    return g


async def run_and_listen(server, graph):
    """A graph's result, and the texts that the server sent to who queued it, to be shown on nodes."""
    texts = []
    address = f"{server.url}/ws?clientId={CLIENT}"
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        running = asyncio.get_running_loop().run_in_executor(None, server.run, graph)
        while not running.done():
            try:
                message = await socket.receive(timeout=0.2)
            except asyncio.TimeoutError:
                continue
            if message.type == aiohttp.WSMsgType.BINARY and message.data[:4] == b"\0\0\0\x03":  # a text for a node
                length = int.from_bytes(message.data[4:8], "big")
                texts.append((message.data[8 : 8 + length].decode(), message.data[8 + length :].decode()))
        return await running, texts


def test_a_missing_provider_is_the_cpu_and_the_loader_says_so(faces_server):
    graph = cut_face("OpenVINO")
    (pack,) = [id for id, node in graph.prompt.items() if node["class_type"] == "IPAdapterInsightFaceLoader"]
    result, texts = asyncio.run(run_and_listen(faces_server, graph))
    note = fallback_note("OpenVINO")
    assert note and texts == [(pack, note)]
    assert faces_server.run(cut_face("CPU")).tensor("face").equal(result.tensor("face"))
