"""Starting ComfyUI with this pack: no face recogniser, no second vision library, nothing that waits for its use."""

import pytest

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from performance.startup import load_pack


def test_loading_the_pack_imports_nothing_but_the_pack():
    _, count, modules = load_pack()
    assert count > 30
    assert modules == {"pack"}
