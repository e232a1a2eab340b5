"""A mechanism of its own file needs no change elsewhere: a fifth joins the list, and its adapters are read and act."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from torch import nn

from pack.ipadapter import mechanisms
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.errors import CheckpointError
from pack.ipadapter.mechanisms.mechanism import Mechanism
from pack.ipadapter.token_attention import add_image_tokens
from pack.nodes.loading.adapters import manage
from transformer_rig import adapter, embeds, follow, predict, state, tiny_model

KIND = "InstantX Flux"


class Gate(nn.Module):
    def __init__(self, **where):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, **where), requires_grad=False)


class Gated(Mechanism):
    """At the output of an attention, times a learned number per block, in double blocks only."""

    name, variants, parts, made_for = "gated", ("Gated",), ("double",), "flux"
    scalings = ("V only",)

    def fits(self, layers):
        return "0.gate.weight" in layers

    def label(self, config):
        return "Gated"

    def read_projection(self, projection):
        return mechanisms.AttentionOutput().read_projection(projection)

    def layer(self, sizes, operations, **where):
        modules = super().layer(sizes, operations, **where)
        modules["gate"] = Gate(**where)
        return modules

    def keys_values(self, layer, tokens, heads, time):
        k, v = mechanisms.AttentionOutput().keys_values(layer, tokens, heads, time)
        return k, v * layer["gate"].weight.to(v)

    def in_attention(self, run, out, q, k, v):
        text = run.text
        added = add_image_tokens(out[:, text:], run.queries[:, :, text:], run.images(self), run.attend)
        run.show(out[:, text:], added)
        return torch.cat((out[:, :text], added), dim=1)


def test_a_fifth_mechanism_is_one_object_of_the_list(monkeypatch):
    monkeypatch.setattr(mechanisms, "MECHANISMS", (Gated(), *mechanisms.MECHANISMS))
    half = state(KIND)
    half["ip_adapter"] = {key: x for key, x in half["ip_adapter"].items() if int(key.partition(".")[0]) < 2}
    half["ip_adapter"] |= {f"{block}.gate.weight": torch.tensor([0.5]) for block in range(2)}
    gated = manage(read_checkpoint(half, "gated.safetensors"))
    assert gated.config.variant == "Gated" and gated.config.family == "flux"
    model = tiny_model("flux")
    seen = embeds(KIND)
    bare, found = predict(model, "flux")[1], predict(follow(model, gated, seen), "flux")[1]
    doubles = follow(model, adapter(KIND), seen, weight=0.5, layer_weights="double:1")
    expected = predict(doubles, "flux")[1]
    assert (expected - bare).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # float32, sums in another order
    both = predict(follow(doubles, gated, seen), "flux")[1]
    twice = predict(follow(model, adapter(KIND), seen, layer_weights="double:1"), "flux")[1]
    torch.testing.assert_close(both, twice, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["timed layers", "timed projection"])
def test_layers_that_read_the_time_and_a_time_resampler_belong_together(name):
    timed, plain = state("InstantX SD3.5"), state(KIND, context=128)
    mixed = {
        "timed layers": {"image_proj": plain["image_proj"], "ip_adapter": timed["ip_adapter"]},
        "timed projection": {"image_proj": timed["image_proj"], "ip_adapter": plain["ip_adapter"]},
    }[name]
    with pytest.raises(CheckpointError, match="whose projection is"):
        read_checkpoint(mixed, "mixed.bin")
