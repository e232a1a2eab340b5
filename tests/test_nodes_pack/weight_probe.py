"""Measure what image prompts really do in a running sampler, without asking the code that does it."""

import threading
from typing import Any

import numpy as np
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy_api.latest import io

ProbeType = io.Custom("TEST_WEIGHT_PROBE")


class Record:
    def __init__(self, model_sampling: Any) -> None:
        log_sigmas = np.asarray(model_sampling.log_sigmas.cpu(), dtype=np.float64)
        self.percent_of = lambda sigma: 1 - float(np.interp(np.log(sigma), log_sigmas, np.arange(1000))) / 999
        self.calls: list[dict[str, float]] = []
        self.attentions = threading.local()  # how many attentions ran in this thread

    def count(self, attention: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.attentions.ran = getattr(self.attentions, "ran", 0) + 1
        return attention(*args, **kwargs)


class Probe:
    """Lies over a patch, and compares what it adds to the text with what the same adapter adds at weight 1."""

    def __init__(self, patch: Any, unit: Any, bare: Any, record: Record) -> None:
        self.patch, self.unit, self.bare, self.record = patch, unit, bare, record

    def __call__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        before = getattr(self.record.attentions, "ran", 0)
        out = self.patch(q, k, v, options)
        ran = self.record.attentions.ran - before
        text = self.bare(q, k, v, options["n_heads"], attn_precision=options.get("attn_precision"))
        added, unit = (x.double() - text.double() for x in (out, self.unit(q, k, v, options)))
        weight = float((added * unit).sum() / (unit * unit).sum())
        sigma = float(options["sigmas"][0])
        self.record.calls.append(
            {
                "layer": options["transformer_index"],
                "sigma": sigma,
                "percent": self.record.percent_of(sigma),
                "weight": weight,
                "rest": float((added - weight * unit).abs().max()),
                "largest": float(unit.abs().max()),
                "attentions": ran,
            }
        )
        return out


class TestWeightProbe(io.ComfyNode):
    """A model whose image prompts are measured against those of `unit`: the same, at weight 1 everywhere."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestWeightProbe",
            category="testing",
            inputs=[io.Model.Input("model"), io.Model.Input("unit")],
            outputs=[io.Model.Output(), ProbeType.Output()],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> float:
        return float("nan")  # a record for every run

    @classmethod
    def execute(cls, model: Any, unit: Any) -> io.NodeOutput:
        clone = model.clone()
        record = Record(clone.get_model_object("model_sampling"))
        options = clone.model_options["transformer_options"]
        options["optimized_attention_override"] = record.count
        patches = options["patches_replace"]["attn2"]
        units = unit.model_options["transformer_options"]["patches_replace"]["attn2"]
        for key, patch in patches.items():
            patches[key] = Probe(patch, units[key], optimized_attention, record)
        return io.NodeOutput(clone, record)


class TestWeightReport(io.ComfyNode):
    """Every attention that was measured; `after` is the sampler's latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestWeightReport",
            category="testing",
            is_output_node=True,
            inputs=[ProbeType.Input("record"), io.Latent.Input("after")],
            outputs=[],
        )

    @classmethod
    def execute(cls, record: Record, after: Any) -> io.NodeOutput:
        return io.NodeOutput(ui={"calls": list(record.calls)})
