"""A running ComfyUI in whose sources names were changed: what it says at start, and what it refuses to draw."""

import json
import re
import shutil
from pathlib import Path

import pytest

from harness.client import PromptError
from harness.demo import FIRST, FIRST_WORD, DemoServer
from harness.demo_graph import Drawing, Follow, draw, sample
from harness.graph import Graph
from harness.host import find_comfyui
from harness.process import ComfyUI

ROOT = Path(__file__).parents[2]


class Broken(DemoServer):
    """A ComfyUI whose sources were changed, so it starts in a process of its own."""

    def __init__(self, host: Path) -> None:
        super().__init__()
        self.host = host

    def launch(self, arguments: list[str]):
        return ComfyUI.launch(self, arguments)


# Functions and classes that only a few nodes need: a release without them keeps the others.
LESSER = (
    "convert_cond", "encode_model_conds", "get_executing_context", "send_progress_text", "validate_node_input",
    "text_encoder_dtype", "common_upscale", "common_ksampler",
)  # fmt: skip
NODES = json.loads((ROOT / "tests" / "reference" / "node_interface.json").read_text("utf-8"))


def riding() -> Graph:
    g = Graph()
    models = g.add("IPAdapterDemoLoader", adapter="plus")
    latent = g.add("VAEEncode", pixels=g.add("IPAdapterDemoReference", picture=FIRST)[0], vae=models[3])
    looks = {"weight": 1.0, "layers": "all", "start_at": 0.0, "end_at": 1.0}
    model = g.add("IPAdapterReferenceAttention", model=models[0], latent=latent[0], **looks)
    g.add("SaveImage", images=sample(g, models, model[0], FIRST_WORD, 5)[0], filename_prefix="demo")
    return g


@pytest.mark.usefixtures("start_server")  # skips without ComfyUI
def test_a_running_comfyui_says_at_start_what_it_lost_and_draws_no_wrong_picture(tmp_path):
    """A renamed hook, a changed signature, a lost option and renamed functions, as in a release that has them all."""
    copy = tmp_path / "comfyui"
    host = find_comfyui()
    assert host is not None
    shutil.copytree(host, copy, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    renamed = {
        "WrappersMP.APPLY_MODEL (comfy/patcher_extension.py) is gone": (
            "patcher_extension.py", "APPLY_MODEL", "CALL_MODEL"
        ),
        "WrappersMP.APPLY_MODEL (comfy/model_base.py) is gone": (
            "model_base.py", "WrappersMP.APPLY_MODEL", "WrappersMP.CALL_MODEL"
        ),
        'transformer_options["cond_or_uncond"] (comfy/samplers.py) is gone': (
            "samplers.py", '["cond_or_uncond"]', '["branches"]'
        ),
        "(comfy/model_patcher.py) is changed": (
            "model_patcher.py", "attn2_replace(self, patch, block_name,", "attn2_replace(self, block_name, patch,"
        ),
    }  # fmt: skip
    for file, old, new in renamed.values():
        source = copy / "comfy" / file
        source.write_text(source.read_text("utf-8").replace(old, new), "utf-8")
    word = re.compile(rf"\b({'|'.join(LESSER)})\b")
    for source in copy.rglob("*.py"):
        if word.search(text := source.read_text("utf-8")):
            source.write_text(word.sub(r"\1_renamed", text), "utf-8")
    with Broken(copy) as server:
        lines = [line for line in server.log.splitlines() if "has no longer what the IPAdapter nodes rely on" in line]
        expected = [*renamed, *(f"{name} (" for name in LESSER)]
        assert [sum(told in line for line in lines) for told in expected] == [1] * len(lines) == [1] * len(expected)
        assert set(NODES) <= set(server.call("/object_info"))
        with pytest.raises(PromptError, match="lacks what image prompts in this model rely on.*cond_or_uncond"):
            server.run(draw(Drawing(FIRST_WORD, (Follow(FIRST),)))[0])
        with pytest.raises(PromptError, match="lacks what references in this model rely on.*cond_or_uncond"):
            server.run(riding())
        assert not list(server.output.rglob("*.png"))
