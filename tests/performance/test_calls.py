"""How many Python calls image prompts add to a layer of a step: on a fast GPU, that is what their time consists of."""

import inspect

import pytest

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.ldm.flux.layers
import comfy.ldm.flux.math
import comfy.ldm.modules.attention as host_attention
import comfy.ldm.modules.diffusionmodules.mmdit
import torch
from comfy.samplers import KSAMPLER

from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from performance.calls import added_calls, calls_of_step
from performance.rig import Rig, half_mask
from transformer_rig import FAMILY, adapter, embeds, follow, sample as sample_transformer, tiny_model

RISING = WeightSchedule(steps=StepCurve(shape="linear up", low=0.2, high=1.0))
RIG = Rig("sd15")
# By kind: the text of one block's weights, how many blocks more a prompt without that text has, and the calls at most.
# Of SD3.5, the host calls the adapter's three linear layers in every block.
# In releases of ComfyUI that do not show queries before their rotation, they are rotated back.
BACK = 0 if "attn1_patch" in inspect.getsource(comfy.ldm.flux.layers) else 12
BLOCKS = {
    "XLabs Flux": ("double0:1", 1, 40 + BACK),
    "InstantX Flux": ("double0:1", 3, 40 + BACK),
    "InstantX SD3.5": ("joint0:1", 1, 312),
}
CASES = {  # what is applied, and at most how many calls a layer of SD1.5 gets more than without
    "one adapter": (lambda model: RIG.follow(model), 30),
    "a mask": (lambda model: RIG.follow(model, mask=half_mask()), 32),
    "a range": (lambda model: RIG.follow(model, end_at=0.99), 32),
    "two adapters": (lambda model: RIG.chain(model, 2), 48),
    "four adapters": (lambda model: RIG.chain(model, 4), 84),
    "a step schedule": (lambda model: RIG.follow(model, schedule=RISING), 40),
}


def test_a_layer_of_a_step_costs_few_python_calls(monkeypatch):
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)
    model = RIG.bare()
    counted = {name: added_calls(RIG, model, follow) for name, (follow, _) in CASES.items()}
    assert {name: calls for name, calls in counted.items() if calls > CASES[name][1]} == {}


def call_at_every_step(model, x, sigmas, extra_args=None, **_):
    """A sampler without a progress bar, whose calls depend on the time."""
    for sigma in sigmas[:-1]:
        model(x, sigma.expand(len(x)), **(extra_args or {}))
    return x


class Transformers:
    """Samples tiny transformers by as many steps as asked."""

    def __init__(self, kind):
        self.family = FAMILY[kind]

    def sample(self, model, steps=2, **more):
        sigmas = tuple(torch.linspace(1.0, 0.0, steps + 1).tolist())
        sample_transformer(model, self.family, sigmas, cfg=3.0, sampler=KSAMPLER(call_at_every_step), **more)


def test_a_block_of_a_transformer_costs_few_python_calls(monkeypatch):
    for module in (host_attention, comfy.ldm.flux.math, comfy.ldm.modules.diffusionmodules.mmdit):
        monkeypatch.setattr(module, "optimized_attention", host_attention.attention_pytorch)
    counted = {}
    for kind, (one, more, _) in BLOCKS.items():
        rig, model, prompt = Transformers(kind), tiny_model(FAMILY[kind]), (adapter(kind), embeds(kind))
        every, first = (calls_of_step(rig, follow(model, *prompt, layer_weights=text)) for text in ("", one))
        counted[kind] = (every - first) / more
    assert {kind: calls for kind, calls in counted.items() if calls > BLOCKS[kind][2]} == {}
