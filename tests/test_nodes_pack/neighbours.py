"""The smallest nodes that do to a model what much used packs do, where ComfyUI itself has no such node."""

from typing import Any

import comfy.ldm.modules.attention as attention
import torch
from comfy import gligen, hooks, model_patcher, sd, supported_models
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io

from . import unets

Gligen = io.Custom("GLIGEN")


def _node(node_id: str, inputs: list[Any], output: Any) -> io.Schema:
    return io.Schema(node_id=node_id, category="testing", inputs=inputs, outputs=[output])


class TestLora(io.ComfyNode):
    """A LoRA of every projection of the cross-attentions, applied by ComfyUI's own code; drawn instead of loaded."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _node("TestLora", [io.Model.Input("model"), io.Float.Input("strength", default=1.0)], io.Model.Output())

    @classmethod
    def execute(cls, model: Any, strength: float) -> io.NodeOutput:
        return io.NodeOutput(sd.load_lora_for_models(model, None, lora_of(model), strength, 0)[0])


def lora_of(model: Any) -> dict[str, torch.Tensor]:
    """Rank 2, of every key and value of the attentions to the text, or of those of a Flux's pictures."""
    generator = torch.Generator().manual_seed(11)
    state: dict[str, torch.Tensor] = {}
    for name, weight in model.model.state_dict().items():
        if (".attn2.to_" in name or name.endswith("img_attn.qkv.weight")) and weight.ndim == 2:
            key = name.removesuffix(".weight")
            state[f"{key}.lora_up.weight"] = torch.randn((weight.shape[0], 2), generator=generator) * 0.3
            state[f"{key}.lora_down.weight"] = torch.randn((2, weight.shape[1]), generator=generator) * 0.1
    return state


class TestHook(io.ComfyNode):
    """The same LoRA as a hook of conditionings, as Create Hook LoRA makes it of a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _node("TestHook", [io.Model.Input("model")], io.Hooks.Output())

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        return io.NodeOutput(hooks.create_hook_lora(lora_of(model), 1.0, 0.0))


class TestConcatModel(io.ComfyNode):
    """A tiny SD1.5 whose latent comes with more channels beside it: 9 is an inpainting model, 8 InstructPix2Pix."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _node(
            "TestConcatModel",
            [io.Int.Input("channels"), io.Int.Input("seed", default=1, optional=True)],
            io.Model.Output(),
        )

    @classmethod
    def execute(cls, channels: int, seed: int = 1) -> io.NodeOutput:
        kinds = {9: supported_models.SD15, 8: supported_models.SD15_instructpix2pix}
        config = unets.unet_config("sd15", 32, torch.float32) | {"in_channels": channels}
        return io.NodeOutput(unets.model_of(kinds[channels](config), seed))


class TestVideoModel(io.ComfyNode):
    """A tiny UNet of Stable Video Diffusion's kind: behind every attention of a frame, one along the frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _node("TestVideoModel", [io.Int.Input("text_width", default=1024)], io.Model.Output())

    @classmethod
    def execute(cls, text_width: int) -> io.NodeOutput:
        config = unets.unet_config("sd15", 32, torch.float32) | {
            "in_channels": 8, "context_dim": text_width, "adm_in_channels": 768, "num_classes": "sequential",
            "use_linear_in_transformer": True, "use_temporal_attention": True, "use_temporal_resblock": True,
            "video_kernel_size": [3, 1, 1], "merge_factor": 0.0, "merge_strategy": "learned_with_images",
            "extra_ff_mix_layer": True, "use_spatial_context": True,
            "disable_temporal_crossattention": False,
        }  # fmt: skip
        return io.NodeOutput(unets.model_of(supported_models.SVD_img2vid(config), seed=1))


class TestUnclipModel(io.ComfyNode):
    """A tiny SD2.1 that takes image embeds in the place of pooled text, as published unCLIP checkpoints do."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _node("TestUnclipModel", [], io.Model.Output())

    @classmethod
    def execute(cls) -> io.NodeOutput:
        config = unets.unet_config("sd15", 32, torch.float32) | {
            "context_dim": 1024, "use_linear_in_transformer": True, "adm_in_channels": 1536,
            "num_classes": "sequential",
        }  # fmt: skip
        return io.NodeOutput(unets.model_of(supported_models.SD21UnclipL(config), seed=1))


class TestGligen(io.ComfyNode):
    """GLIGEN's gated attentions between self-attention and cross-attention, for the tiny SD1.5."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _node("TestGligen", [io.Model.Input("model")], Gligen.Output())

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        widths = [w.shape[0] for name, w in model.model.state_dict().items() if name.endswith("attn2.to_q.weight")]
        gates = [gligen.GatedSelfAttentionDense(width, 768, 8, width // 8) for width in widths]
        network = gligen.Gligen(gates, gligen.PositionNet(768, 768), 768)
        unets.seed_weights(network, 12)
        with torch.no_grad():
            for gate in gates:
                gate.alpha_attn.fill_(0.5)
                gate.alpha_dense.fill_(0.5)
        patcher = model_patcher.CoreModelPatcher(network, model.load_device, model.offload_device)
        return io.NodeOutput(patcher)


class TestAttentionOverride(io.ComfyNode):
    """Another attention for the whole model, as SageAttention's nodes set it: less exact queries and keys."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _node("TestAttentionOverride", [io.Model.Input("model")], io.Model.Output())

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        model = model.clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = coarse
        return io.NodeOutput(model)


def coarse(function: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    return attention.attention_pytorch(q.bfloat16().to(q), k.bfloat16().to(k), v, *args, **kwargs)


class TestTextPatches(io.ComfyNode):
    """What packs hang on the cross-attentions without replacing them: on queries, keys, values, and on the output."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _node("TestTextPatches", [io.Model.Input("model")], io.Model.Output())

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        model = model.clone()
        model.set_model_attn2_patch(lambda q, k, v, options: (q * 1.1, k * 0.9, v * 0.8))
        model.set_model_attn2_output_patch(lambda out, options: out * 0.9)
        return io.NodeOutput(model)


class TestFrameWindows(io.ComfyNode):
    """As AnimateDiff-Evolved does it: a batch is sampled some frames at a time, told by `ad_params`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Model.Input("model"), io.Int.Input("length", default=2)]
        return _node("TestFrameWindows", inputs, io.Model.Output())

    @classmethod
    def execute(cls, model: Any, length: int) -> io.NodeOutput:
        model = model.clone()

        def windows(executor: Any, inner: Any, conds: Any, x: torch.Tensor, timestep: Any, options: Any) -> Any:
            parts = []
            for start in range(0, len(x), length):
                frames = list(range(start, min(start + length, len(x))))
                told = {"sub_idxs": frames, "full_length": len(x), "context_length": length}
                now = {**options, "transformer_options": {**options["transformer_options"], "ad_params": told}}
                parts.append(executor(inner, conds, x[frames], timestep[frames], now))
            return [torch.cat(outs) for outs in zip(*parts, strict=True)]

        model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "test_frame_windows", windows)
        return io.NodeOutput(model)


class Around(torch.nn.Module):
    """A module as caching and quantising packs put it in place of another, which it calls and whose sizes it hides."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.inner = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


class Projected(Around):
    """Such a module with the projections that ComfyUI calls around a patch of a cross-attention."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(module)
        self.to_q, self.to_k, self.to_v, self.to_out = module.to_q, module.to_k, module.to_v, module.to_out


class Unpatched(Around):
    """Such a module that hides all patches from the one that it calls."""

    def forward(self, *args: Any, transformer_options: Any = None, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


REPLACEMENTS = {kind.__name__: kind for kind in (Around, Projected, Unpatched)}


class TestReplacedModule(io.ComfyNode):
    """Another module in place of one of the model's, by an object patch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        kinds = io.Combo.Input("kind", options=list(REPLACEMENTS))
        return _node("TestReplacedModule", [io.Model.Input("model"), io.String.Input("path"), kinds], io.Model.Output())

    @classmethod
    def execute(cls, model: Any, path: str, kind: str) -> io.NodeOutput:
        model, path = model.clone(), f"diffusion_model.{path}"
        model.add_object_patch(path, REPLACEMENTS[kind](model.get_model_object(path)))
        return io.NodeOutput(model)


NODES: list[type[io.ComfyNode]] = [
    TestLora, TestHook, TestConcatModel, TestVideoModel, TestUnclipModel, TestGligen,
    TestAttentionOverride, TestTextPatches, TestFrameWindows, TestReplacedModule,
]  # fmt: skip
