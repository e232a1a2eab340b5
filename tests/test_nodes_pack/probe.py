"""Look into a running UNet: what the cross-attentions gave, and what the pack decided for each call."""

from typing import Any

import torch
from comfy_api.latest import io

ProbeType = io.Custom("TEST_PROBE")


class Probe:
    """What the layers of a model did, in the order of its calls."""

    def __init__(self) -> None:
        self.attention: dict[str, list[torch.Tensor]] = {}

    def __call__(self, n: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        block, number = options["block"]
        name = f"{block}{number}_{options['block_index']}"
        self.attention.setdefault(name, []).append(n.detach().cpu().clone())
        return n


class TestProbe(io.ComfyNode):
    """Records what every cross-attention gives, after its output projection, at every call."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestProbe",
            category="testing",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output(), ProbeType.Output()],
            not_idempotent=True,
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        probe = Probe()
        model = model.clone()
        model.set_model_attn2_output_patch(probe)
        return io.NodeOutput(model, probe)


class TestReadProbe(io.ComfyNode):
    """What a probe recorded, once the latent exists: block name -> tensors by call."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestReadProbe",
            category="testing",
            inputs=[ProbeType.Input("probe"), io.Latent.Input("after")],
            outputs=[io.AnyType.Output()],
            not_idempotent=True,
        )

    @classmethod
    def execute(cls, probe: Probe, after: Any) -> io.NodeOutput:
        return io.NodeOutput(dict(probe.attention))
