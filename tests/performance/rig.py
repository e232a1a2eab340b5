"""Tiny models with image prompts, sampled in this process by ComfyUI's own KSampler code."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import comfy.context_windows
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

import synthetic
from harness.in_process import following
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.applying.encoding import Reference
from pack.nodes.loading.adapters import LoadedAdapter, manage
from pack.nodes.sampling import attach
from pack.nodes.sampling.patches import replacements
from test_nodes_pack import counting, standins, unets

LAYERS = {"sd15": 16, "sdxl": 70, "sdxl shallow": 17, "two layers": 2, "one layer": 1}
EMBEDS = 32
XL: dict[str, Any] = {"variant": "SDXL", "context": 2048}
KINDS: dict[str, dict[str, Any]] = {
    "sd15": {"variant": "standard", "context": 768, "channels": synthetic.sd15_channels},
    "sdxl": XL | {"channels": synthetic.sdxl_channels},
    "sdxl shallow": XL | {"channels": partial(synthetic.sdxl_channels, depths=(1, 2))},
    "two layers": XL | {"channels": lambda base: [2 * base, base]},
    "one layer": XL | {"channels": lambda base: [base]},
}


@cache
def make_adapter(family: str, channels: int = 32, tokens: int = 4) -> LoadedAdapter:
    """An adapter for `unets.tiny_model(family, ..., channels)`."""
    kind = KINDS[family]
    widths = kind["channels"](channels)
    state_dict = synthetic.adapter(
        kind["variant"], seed=7, context=kind["context"], channels=widths, pooled=EMBEDS, tokens=tokens
    )
    return manage(read_checkpoint(state_dict, f"tiny {family}.safetensors"))


@dataclass(frozen=True)
class Rig:
    """A bare model of a family and what is sampled from it and its patched clones."""

    family: str
    channels: int = 32
    size: int = 8
    dtype: str = "fp32"
    tokens: int = 4
    drawn_on: str = "cpu"  # the random weights

    def bare(self) -> ModelPatcher:
        return unets.tiny_model(self.family, 1, self.channels, self.dtype, self.drawn_on)

    @property
    def layers(self) -> int:
        return LAYERS[self.family]

    @property
    def adapter(self) -> LoadedAdapter:
        return make_adapter(self.family, self.channels, self.tokens)

    def embeds(self, seed: int = 1, images: int = 1) -> Tensor:
        return standins.seeded((images, EMBEDS), seed)

    def follow(
        self, model: ModelPatcher, seed: int = 1, images: int = 1, per_frame: bool = False, **strength: Any
    ) -> ModelPatcher:
        """The model with one more image prompt."""
        reference = Reference(embeds=self.embeds(seed, images), per_frame=per_frame)
        return following(model, self.adapter, reference, **strength)

    def chain(self, model: ModelPatcher, prompts: int, **strength: Any) -> ModelPatcher:
        for seed in range(prompts):
            model = self.follow(model, seed, **strength)
        return model

    def sample(self, model: ModelPatcher, steps: int = 2, frames: int = 1, **more: Any) -> Tensor:
        """A latent from KSampler's own function; CFG 7, so that a model call has both rows."""
        width = KINDS[self.family]["context"]
        conditionings = [
            [[standins.seeded((1, 77, width), seed), {"pooled_output": standins.seeded((1, standins.POOLED), seed)}]]
            for seed in (10, 20)
        ]
        latent = {"samples": torch.zeros(frames, 4, self.size, self.size)}
        inputs = {"cfg": 7.0, "sampler_name": "euler", "scheduler": "normal"} | more
        comfy.utils.set_progress_bar_enabled(False)
        with torch.inference_mode():
            return counting.HOST_NODES.common_ksampler(
                model, 5, steps, inputs["cfg"], inputs["sampler_name"], inputs["scheduler"], *conditionings, latent
            )[0]["samples"]

    def count(self, model: ModelPatcher, **more: Any) -> Counter[str]:
        """The operations of one step."""
        inputs: dict[str, Any] = {"scheduler": counting.SCHEDULER} | more
        return counting.count_step(model, lambda steps: self.sample(model, steps, **inputs))


def added(with_prompts: Counter[str], bare: Counter[str]) -> Counter[str]:
    """Operations that image prompts add to a step."""
    return Counter({name: n for name in {*with_prompts, *bare} if (n := with_prompts[name] - bare[name])})


def in_windows(model: ModelPatcher, length: int = 16, overlap: int = 4) -> ModelPatcher:
    """The model as ComfyUI's own context windows node leaves it, for batches of pictures."""
    windowed = model.clone()
    options: dict[str, Any] = windowed.model_options
    options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=length, context_overlap=overlap, dim=0,
    )  # fmt: skip
    comfy.context_windows.create_prepare_sampling_wrapper(windowed)
    return windowed


def half_mask(frames: int = 1, size: int = 64) -> Tensor:
    mask = torch.zeros(frames, size, size)
    mask[..., size // 2 :] = 1
    return mask


def hooks_of(model: ModelPatcher) -> Any:
    """What decides for a patched model: its prompts, and what it keeps on the device."""
    return attach.hooks_of(model)


def patches_of(model: ModelPatcher) -> Sequence[Any]:
    return list(replacements(model.model_options["transformer_options"], "attn2").values())
