"""What a node shows while it is edited is what it makes when the graph runs, and the route takes nothing else."""

import base64
import io
import json
import re
import struct
import urllib.error
import urllib.request
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.client import PromptError
from harness.graph import Graph, Node
from harness.server import Server

CURVE = {"layers": "style transfer", "layer_text": "", "low": 0.2, "high": 1.5, "start": 0.1, "end": 0.7}
RISE, HOLD = CURVE | {"steps": "cosine up"}, CURVE | {"steps": "constant", "layer_text": "0-3:0.5, 5"}
SOLID = {"value": 0.6, "width": 512, "height": 300}


def asked(server: Server, body: bytes) -> tuple[int, Any]:
    """Status and what came: a picture, or a message."""
    request = urllib.request.Request(f"{server.url}/ipadapter_atelier/draw", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = answer.read()
            png = answer.headers.get_content_type() == "image/png"
            return answer.status, Image.open(io.BytesIO(found)) if png else json.loads(found)["message"]
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["message"]


def described(server: Server, graph: Graph, node: Node | list[Any]) -> dict[str, Any]:
    """A node of a graph as the page describes it."""
    id, output = (node.id, 0) if isinstance(node, Node) else node
    entry = graph.prompt[id]
    if entry["class_type"] == "LoadImage":
        return {"picture": base64.b64encode((server.base / "input" / entry["inputs"]["image"]).read_bytes()).decode()}
    known = {k: v for k, v in entry["inputs"].items() if k != "batch_size"}
    inputs = {k: described(server, graph, v) if isinstance(v, list) else v for k, v in known.items()}
    return {"node": entry["class_type"], "inputs": inputs, "output": output}


def drawn(server: Server, graph: Graph, node: Node, **more: Any) -> np.ndarray:
    status, picture = asked(server, json.dumps({"draw": described(server, graph, node)} | more).encode())
    assert status == 200 and isinstance(picture, Image.Image), picture
    return np.asarray(picture.convert("RGB"))


def combined(g: Graph) -> Node:
    first, second = (g.add("IPAdapterWeightSchedule", **settings) for settings in (RISE, HOLD))
    links = {"first": first[0], "second": second[0]}
    return g.add("IPAdapterCombineSchedules", **links, method="style from second", scale=0.8)


def halves(g: Graph) -> Node:
    below = g.add("IPAdapterSolidMask", **SOLID)
    above = g.add("IPAdapterSolidMask", value=1.0, width=9, height=9, canvas=below[0], width_fraction=0.5)
    links = {"destination": below[0], "source": above[0]}
    return g.add("IPAdapterMaskComposite", **links, x=3, y=4, operation="subtract", x_fraction=0.25)


def split(g: Graph) -> Node:
    latent = g.add("EmptyLatentImage", width=500, height=300, batch_size=1)
    settings = {"split": "grid", "columns": 3, "rows": 2, "softness": 0.2, "widths": "2, 1, 1"}
    return g.add("IPAdapterSplitCanvas", canvas=latent[0], width=1, height=1, **settings)


@pytest.mark.parametrize("family", ["SD1.5", "SDXL"])
@pytest.mark.parametrize("make", [lambda g: g.add("IPAdapterWeightSchedule", **RISE), combined], ids=["one", "two"])
def test_a_schedule_is_drawn_as_its_preview_draws_it(server, make, family):
    g = Graph()
    node = make(g)
    preview = g.add("IPAdapterSchedulePreview", schedule=node[0], family=family)
    ran = np.asarray(server.run(g).images(preview.id)[0])
    assert np.array_equal(drawn(server, g, node, family=family), ran)
    assert not np.array_equal(drawn(server, g, node, family=family, theme="light"), ran)


@pytest.mark.parametrize("family", ["Flux", "SD3.5"])
def test_a_schedule_is_drawn_with_the_blocks_of_a_transformer_too(server, family):
    g = Graph()
    node = g.add("IPAdapterWeightSchedule", **RISE | {"layers": "ease in"})
    preview = g.add("IPAdapterSchedulePreview", schedule=node[0], family=family)
    ran = np.asarray(server.run(g).images(preview.id)[0])
    assert np.array_equal(drawn(server, g, node, family=family), ran)


def test_a_split_canvas_is_drawn_as_the_run_shows_it(server):
    g = Graph()
    node = split(g)
    ran = np.asarray(server.run(g).images(node.id)[0])
    assert np.array_equal(drawn(server, g, node), ran)


def test_regions_of_a_drawing_are_drawn_as_the_run_shows_them(server):
    painting = np.full((90, 160, 3), 255, np.uint8)
    painting[10:60, 20:70], painting[30:80, 90:150] = (220, 30, 30), (30, 60, 220)
    Image.fromarray(painting).save(server.base / "input" / "painted regions.png")
    g = Graph()
    drawing = g.add("LoadImage", image="painted regions.png")
    settings = {"colours": "", "background": "#fff", "softness": 0.0, "width": 320, "height": 180}
    node = g.add("IPAdapterRegionsByColour", drawing=drawing[0], **settings)
    ran = np.asarray(server.run(g).images(node.id)[0])
    assert np.array_equal(drawn(server, g, node), ran)
    assert np.array_equal(drawn(server, g, g.add("IPAdapterRegionsByColour", drawing=drawing[0], **settings)), ran)


@pytest.mark.parametrize("output", [1, 3])
def test_a_mask_is_drawn_with_the_values_that_the_run_makes(server, output):
    g = Graph()
    links = {"destination": halves(g)[0], "source": split(g)[output]}
    node = g.add("IPAdapterMaskComposite", **links, x=0, y=0, operation="multiply")
    g.save("mask", node[0])
    ran = (server.run(g).tensor("mask")[0] * 255).round().numpy()
    assert len(np.unique(ran)) > 3
    assert np.array_equal(drawn(server, g, node)[2:-2, 2:-2, 0], ran)


def test_a_large_canvas_is_drawn_small_with_the_same_shares(server):
    large, small = Graph(), Graph()
    for g, size in ((large, 4096), (small, 512)):
        g.add("IPAdapterSplitCanvas", split="grid", columns=4, rows=4, softness=0.1, width=size, height=size // 2)
    nodes = [Node("1", g.prompt["1"]) for g in (large, small)]
    assert np.array_equal(drawn(server, large, nodes[0]), drawn(server, small, nodes[1]))


def test_regions_that_the_run_would_refuse_are_refused_alike(server):
    g = Graph()
    many = {"split": "grid", "columns": 64, "rows": 64, "softness": 0.0, "width": 1024, "height": 1024}
    node = g.add("IPAdapterSplitCanvas", **many)
    status, message = asked(server, json.dumps({"draw": described(server, g, node)}).encode())
    assert status == 200
    with pytest.raises(PromptError, match=re.escape(message)):
        server.run(g)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layer_text": "16:1"}, "'16' is no layer of this model"),
        ({"points": "0:a"}, "'0:a' is not a point of a step curve"),
        ({"start": 0.9, "end": 0.1}, "runs from start to end"),
    ],
)
def test_what_was_typed_wrong_is_answered_in_the_nodes_own_words(server, wrong, said):
    body = {"draw": {"node": "IPAdapterWeightSchedule", "inputs": RISE | wrong}}
    status, message = asked(server, json.dumps(body).encode())
    assert status == 200 and said in message


def solid(**inputs: Any) -> dict[str, Any]:
    return {"draw": {"node": "IPAdapterSolidMask", "inputs": SOLID | inputs}}


def nested(depth: int) -> Any:
    inner: dict[str, Any] = {"node": "IPAdapterWeightSchedule", "inputs": RISE}
    other = dict(inner)
    for _ in range(depth):
        links = {"first": inner, "second": other}
        inner = {"node": "IPAdapterCombineSchedules", "inputs": links | {"method": "multiply", "scale": 1}}
    return {"draw": inner}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "not a JSON object"),
        ({"draw": {"node": "LoadImage", "inputs": {"image": "../../x.png"}}}, "no input 'image'"),
        ({"draw": {"node": "IPAdapterModelLoader", "inputs": {}}}, "No drawing knows"),
        ({"draw": {"node": "EmptyImage", "inputs": {"width": 64, "height": 64}}}, "is not drawn"),
        (solid(value="1"), "value cannot be"),
        (solid(value=True), "value cannot be"),
        (solid(value=float("nan")), "within"),
        (solid(width=1 << 40), "width lies within 1 and 16384"),
        (solid(canvas={"picture": 5}), "canvas cannot be"),
        (solid(canvas="x"), 'Expected an object with "node"'),
        (solid(file="/etc/passwd"), "no input 'file'"),
        ({"draw": {"node": "IPAdapterSolidMask", "inputs": {"value": 1}}}, "needs width, height"),
        (solid() | {"family": "../SD1.5"}, "Known families"),
        (solid() | {"theme": ["dark"]}, "Known themes"),
        (nested(40), "24 deep"),
        ({"draw": {"node": "IPAdapterWeightSchedule", "inputs": RISE | {"points": "0:1," * 9000}}}, "points cannot be"),
    ],
)  # fmt: skip
def test_a_request_that_the_page_would_not_make_is_refused(server, body, said):
    status, message = asked(server, json.dumps(body).encode())
    assert status == 400 and said in message and len(message) < 300


@pytest.mark.parametrize(
    ("body", "said"), [(b"{", "not JSON"), (b"[" * 100_000, "not JSON"), (b" " * ((12 << 20) + 1), "up to 12 MB")]
)
def test_a_body_that_is_no_request_is_refused(server, body, said):
    status, message = asked(server, body)
    assert status == 400 and said in message


def huge_png() -> bytes:
    """A few bytes that say they are a picture of 30000 x 30000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize(("file", "said"), [(huge_png(), "4 megapixels"), (b"GIF89a", "cannot be drawn"), (b"", "can")])
def test_a_file_that_is_no_small_picture_is_not_unpacked(server, file, said):
    settings = {"colours": "", "background": "", "softness": 0, "width": 64, "height": 64}
    inputs = settings | {"drawing": {"picture": base64.b64encode(file).decode()}}
    body = {"draw": {"node": "IPAdapterRegionsByColour", "inputs": inputs}}
    status, message = asked(server, json.dumps(body).encode())
    assert status == 200 and said in message


def test_drawing_leaves_no_file_behind(server):
    def files() -> set[str]:
        return {str(path) for path in server.base.rglob("*") if path.is_file()}

    before = files()
    g = Graph()
    for make in (split, halves, combined):
        drawn(server, g, make(g))
    assert files() == before
