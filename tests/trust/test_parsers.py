"""Whatever is written into a text or lies in a file: it is read rightly, or refused in a line or two, by its name."""

import json
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from pack.weight_schedules.layers import WEIGHT_TYPES
from pack.weight_schedules.schedule import METHODS, CombinedSchedule, WeightSchedule
from pack.weight_schedules.schedule_json import from_json, to_json
from pack.weight_schedules.steps import BETWEEN, SHAPES, StepCurve
from trust.parsers import FILES, TEXTS, feed_file, feed_text, pickled_archive

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)  # of trees, on busy machines
few = settings(max_examples=50, deadline=None, database=None, derandomize=True, suppress_health_check=SLOW)

TOKENS = (
    "0", "1", "7", "3:2.5", "-1", "0-3", "99999999999999999999", "9" * 5000, "1e999", "nan", "inf", "-inf", "²", "١",
    ":", ",", ";", "\n", " ", "all", "mid", "input8", "input_blocks.4-output.9", "up_blocks.0.attentions.1", "style",
    "#fff", "#ff0000", "#ggg", "/", "\\", "..", ".", "\0", "C:", "con", "a", ".bin", "owner/name", "house", "a cat",
    "0:1", "0.5:0.2", "1:0", "{", "}", '"version": 1', '"schedule"', "\ud800", "🧑‍🎨", "x" * 3000, "%s", "{0}",
)  # fmt: skip
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(TOKENS), max_size=12).map("".join))
numbers = st.one_of(st.integers(-(10**20), 10**20), st.floats(), st.just(10**400))
entries = st.sampled_from(
    ("layers", "steps", "frames", "scale", "composition", "boost", "method", "first", "second", "shape", "low", "high",
     "start", "end", "points", "between", "version", "schedule", "other")
)  # fmt: skip
words = st.sampled_from(["linear", "add", "constant", "style", "x" * 3000])
plain = st.one_of(st.none(), st.booleans(), numbers, words)
trees: Any = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(entries, inner, max_size=4))
)


@pytest.mark.parametrize("parser", TEXTS)
@few
@given(text=texts)
def test_every_parser_reads_or_refuses_any_text(parser, text):
    feed_text(parser, text)


@few
@given(tree=trees)
def test_any_json_is_a_schedule_or_refused(tree):
    feed_text("schedule", json.dumps({"version": 1, "schedule": tree}))
    feed_text("schedule", json.dumps(tree))


small = st.floats(-5, 5)
curves = st.builds(
    StepCurve,
    shape=st.sampled_from(list(SHAPES)),
    low=small,
    high=small,
    points=st.lists(st.tuples(st.floats(0, 1), small), max_size=4).map(lambda found: tuple(sorted(found))),
    between=st.sampled_from(list(BETWEEN)),
)
single = st.builds(WeightSchedule, layers=st.sampled_from(WEIGHT_TYPES), steps=curves, scale=small)
schedules: Any = st.recursive(
    single, lambda inner: st.builds(CombinedSchedule, st.sampled_from(METHODS), inner, inner, small), max_leaves=6
)


@few
@given(schedule=schedules)
def test_every_schedule_comes_back_from_its_text(schedule):
    assert from_json(to_json(schedule)) == schedule


header = st.dictionaries(
    st.sampled_from(["image_proj.proj.weight", "image_proj.norm.weight", "ip_adapter.1.to_k_ip.weight", "embeds", "x"]),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F16", "I64", "F8_E4M3", "U8", "BOOL", "none"]),
            "shape": st.lists(st.integers(0, 2**40), max_size=3),
            "data_offsets": st.lists(st.integers(0, 64), min_size=2, max_size=2),
        }
    ),
    max_size=4,
)


def safetensors_file(tensors: dict[str, Any], data: bytes, format: str) -> bytes:
    text = json.dumps({"__metadata__": {"format": format, "version": "1"}, **tensors}).encode()
    return struct.pack("<Q", len(text)) + text + data


contents = st.one_of(
    st.binary(max_size=200),
    st.builds(safetensors_file, header, st.binary(max_size=64), st.sampled_from(["ipadapter-atelier embeds", "pt"])),
    st.builds(pickled_archive, st.binary(max_size=60).map(lambda tail: b"\x80\x02" + tail), st.binary(max_size=32)),
    st.builds(lambda tail: b"\x80\x02" + tail, st.binary(max_size=60)),
    st.builds(lambda value: json.dumps(value).encode(), trees),
)


@pytest.mark.parametrize("reader", FILES)
@few
@given(content=contents)
def test_every_reader_opens_or_refuses_any_file(reader, content):
    feed_file(reader, content)


anything: Any = st.one_of(plain, st.lists(plain, max_size=3), st.just(object()), st.text(max_size=8))


def test_every_node_takes_or_refuses_anything_that_a_link_can_bring():
    pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")
    import torch

    from pack.ipadapter.errors import AdapterError
    from pack.nodes import NODES
    from pack.nodes.guard import checked
    from pack.nodes.loading.files import register_folder

    register_folder("ipadapter")
    dtypes = (torch.float32, torch.float16, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.complex64, torch.int64)
    shapes = st.lists(st.integers(0, 3), max_size=5)
    tensors: Any = st.builds(lambda shape, dtype: torch.ones(shape).to(dtype), shapes, st.sampled_from(dtypes))
    items = [(node, item) for node in NODES for item in node.define_schema().inputs]

    @settings(few, max_examples=200)
    @given(place=st.sampled_from(items), value=st.one_of(anything, tensors))
    def check(place, value):
        node, item = place
        try:
            checked(node.define_schema(), {item.id: [value] if node.define_schema().is_input_list else value})
        except AdapterError as error:
            assert item.id in str(error) and len(str(error)) < 1500

    check()
