"""What is done without a hook that a newer ComfyUI has lost or changed, emulated by this release without it.

The functions that run are ComfyUI's own, with the text of one option or the name of one key changed.
"""

import inspect
import textwrap
from dataclasses import replace

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.context_windows
import comfy.ldm.modules.attention as host_attention
import comfy.sampler_helpers
import torch._dynamo
from comfy.context_windows import IndexListContextHandler
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers import torch_compile
from comfy_extras.nodes_torch_compile import TorchCompileModel

from harness.in_process import sample
from pack.doctor.host import GONE, Gap
from pack.doctor.host_needs import NEEDS
from pack.ipadapter.errors import AdapterError
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.host import running_host
from pack.nodes.sampling import compiled
from performance.rig import Rig, half_mask, in_windows
from test_nodes_pack.standins import seeded

RIG = Rig("sd15")
FRAMES = 5


def windowed(model):
    return sample(in_windows(model, length=3, overlap=1), (FRAMES, 4, 8, 8))


@pytest.fixture
def without_windows_named(monkeypatch):
    """ComfyUI's context windows, which name themselves by another word in the options of a model call."""
    own = textwrap.dedent(inspect.getsource(IndexListContextHandler.evaluate_context_windows))
    assert '"context_window"' in own
    source = "from __future__ import annotations\n" + own.replace('"context_window"', '"window"')
    changed: dict = {}
    exec(source, vars(comfy.context_windows), changed)  # noqa: S102
    monkeypatch.setattr(IndexListContextHandler, "evaluate_context_windows", changed["evaluate_context_windows"])


def test_unknown_frames_follow_the_picture_of_all_frames_and_no_picture_of_their_own(without_windows_named, caplog):
    model = RIG.bare()
    bare, of_all = windowed(model), RIG.follow(model, mask=half_mask())
    for differing in (
        RIG.follow(model, images=FRAMES, per_frame=True),
        RIG.follow(model, weight=[0.2, 0.4, 0.6, 0.8, 1.0]),
        RIG.follow(model, mask=torch.rand(FRAMES, 64, 64)),
        ride_along(model, {"samples": seeded((FRAMES, 4, 8, 8), 3)}, None, Looks(layers="all", per_frame=True)),
    ):
        caplog.clear()
        assert torch.equal(windowed(differing), bare)
        assert caplog.text.count("left out of these calls") == 1
    caplog.clear()
    followed = windowed(of_all)
    assert not torch.equal(followed, bare) and "left out" not in caplog.text
    assert torch.equal(windowed(RIG.follow(of_all, images=FRAMES, per_frame=True)), followed)


def test_frames_of_a_whole_batch_need_no_window(without_windows_named):
    model = RIG.bare()
    followed = RIG.follow(model, images=FRAMES, per_frame=True)
    whole, bare = (sample(each, (FRAMES, 4, 8, 8)) for each in (followed, model))
    assert all((whole[frame] != bare[frame]).any() for frame in range(FRAMES))


@pytest.fixture
def without_compile_key(monkeypatch):
    """A ComfyUI whose TorchCompileModel has a key that the pack does not know, and the pack as it loads there."""
    monkeypatch.setattr(torch_compile, "COMPILE_KEY", "another key")
    monkeypatch.setattr(compiled, "COMPILE_KEY", None)
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_compiled_and_other_models_draw_the_same_without_the_key_of_torchcompilemodel(without_compile_key, monkeypatch):
    rig = Rig("two layers")
    model = rig.bare()
    models = [model, rig.follow(model), rig.follow(model, seed=9, layer_weights="1:1")]
    graphs = [rig.sample(TorchCompileModel.execute(each, "eager").args[0]) for each in models]
    plain = [rig.sample(each) for each in models]
    monkeypatch.setattr(compiled, "COMPILE_KEY", torch_compile.COMPILE_KEY)
    for each, *drawn in zip(models, graphs, plain, strict=True):
        assert all(torch.equal(one, rig.sample(each)) for one in drawn)


@pytest.mark.parametrize("recorded", ["the whole call", "the model inside of it"])
def test_a_cuda_graph_is_not_recorded_of_a_model_with_image_prompts(monkeypatch, recorded):
    """Its replay would repeat keys, values and weights of the recorded step; on a CPU, torch's answer is emulated."""
    whole, latent = recorded == "the whole call", {"samples": seeded((1, 4, 8, 8), 3)}
    recording = [whole]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: recording[0])
    model = RIG.bare()
    unet = model.model.diffusion_model
    handles = [
        unet.register_forward_pre_hook(lambda *_: recording.__setitem__(0, True)),
        unet.register_forward_hook(lambda *_: recording.__setitem__(0, whole)),
    ]
    patched = [RIG.follow(model), ride_along(model, latent, None, Looks())]
    patched += [ride_along(model, latent, None, Looks(start_at=0.9))] if whole else []  # of a later step
    try:
        assert sample(model).isfinite().all(), "without image prompts a graph may be recorded"
        for each in patched:
            recording[0] = whole
            with pytest.raises(AdapterError, match="recorded as a CUDA graph"):
                sample(each)
    finally:
        for handle in handles:
            handle.remove()


def test_references_act_in_a_comfyui_that_cannot_be_told_of_their_memory(monkeypatch):
    def sampled():
        return sample(ride_along(RIG.bare(), {"samples": seeded((1, 4, 8, 8), 3)}, None, Looks(layers="all")))

    wanted = sampled()
    need = next(need for need in NEEDS if need.name == "WrappersMP.PREPARE_SAMPLING")
    lost = replace(running_host(), gaps=(Gap(need, GONE, need.name),))
    monkeypatch.setattr("pack.nodes.host.running_host", lambda: lost)
    monkeypatch.delattr(WrappersMP, "PREPARE_SAMPLING")
    monkeypatch.setattr(comfy.sampler_helpers, "prepare_sampling", comfy.sampler_helpers._prepare_sampling)
    assert torch.equal(sampled(), wanted)
