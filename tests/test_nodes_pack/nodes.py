"""The test-only nodes."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import comfy.sd
import folder_paths
import torch
from comfy_api.latest import ComfyExtension, io
from safetensors.torch import save, save_file

from . import (
    callers,
    counting,
    edits,
    eva,
    little_memory,
    loaders,
    neighbours,
    probe,
    sent,
    standins,
    transformers,
    unets,
    weight_probe,
)

SEED: dict[str, Any] = {"default": 0, "min": 0, "max": 2**31 - 1}


def schema(node_id: str, inputs: list[Any], outputs: list[Any], **more: Any) -> io.Schema:
    return io.Schema(node_id=node_id, category="testing", inputs=inputs, outputs=outputs, **more)


class TestModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestModel",
            [
                io.Combo.Input("family", options=list(unets.FAMILIES)),
                io.Int.Input("seed", **SEED),
                io.Int.Input("channels", default=32, min=32, max=1280, step=32, optional=True),
                io.Combo.Input("dtype", options=list(unets.DTYPES), optional=True),
            ],
            [io.Model.Output()],
        )

    @classmethod
    def execute(cls, family: str, seed: int, channels: int = 32, dtype: str = "fp32") -> io.NodeOutput:
        return io.NodeOutput(unets.tiny_model(family, seed, channels, dtype))


class TestCheckpoint(io.ComfyNode):
    """Stands in for CheckpointLoaderSimple; `xl` in a name gives an SDXL-shaped model, `shallow` fewer layers of it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        outputs = [io.Model.Output(), io.Clip.Output(), io.Vae.Output()]
        return schema("TestCheckpoint", [io.String.Input("ckpt_name")], outputs)

    @classmethod
    def execute(cls, ckpt_name: str) -> io.NodeOutput:
        family = standins.family_of(ckpt_name)
        shape = f"{family} shallow" if "shallow" in ckpt_name else family
        model = unets.tiny_model(shape, seed=1) if shape in unets.FAMILIES else tiny_transformer(family)
        return io.NodeOutput(model, standins.TextStandIn(family), standins.VaeStandIn(family))


def tiny_transformer(family: str) -> Any:
    """The MODEL of the file that the tests' server has for a family, as Load Diffusion Model makes it."""
    return comfy.sd.load_diffusion_model(
        folder_paths.get_full_path_or_raise("diffusion_models", f"tiny-{family}.safetensors")
    )


class TestVae(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestVae", [io.Combo.Input("family", options=list(standins.WIDTHS))], [io.Vae.Output()])

    @classmethod
    def execute(cls, family: str) -> io.NodeOutput:
        return io.NodeOutput(standins.VaeStandIn(family))


class TestConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestConditioning",
            [
                io.Combo.Input("family", options=list(standins.WIDTHS)),
                io.Int.Input("seed", **SEED),
                io.Int.Input("tokens", default=standins.TOKENS, min=1, max=1000, optional=True),
                io.Int.Input("batch", default=1, min=1, max=64, optional=True),
            ],
            [io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, family: str, seed: int, tokens: int = standins.TOKENS, batch: int = 1) -> io.NodeOutput:
        context = standins.seeded((batch, tokens, standins.WIDTHS[family]), seed)
        return io.NodeOutput([[context, {"pooled_output": standins.seeded((batch, standins.POOLED), seed + 1)}]])


class TestClipVision(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TestClipVision",
            [
                io.Int.Input("seed", **SEED),
                io.Int.Input("hidden", default=64, min=32, max=4096, step=32, optional=True),
                io.Int.Input("projection", default=32, min=1, max=4096, optional=True),
                io.Int.Input("image_size", default=224, min=14, max=1024, step=14, optional=True),
                io.Boolean.Input("text", default=False, optional=True, tooltip="with a text tower"),
            ],
            [io.ClipVision.Output()],
        )

    @classmethod
    def execute(
        cls, seed: int, hidden: int = 64, projection: int = 32, image_size: int = 224, text: bool = False
    ) -> io.NodeOutput:
        vision = standins.tiny_clip_vision(seed, hidden, projection, image_size)
        if text:
            setattr(vision, "text", standins.TextTower(projection))  # noqa: B010 - where an encoder's text tower is
        return io.NodeOutput(vision)


IMAGES = {
    "smooth": lambda noise: torch.nn.functional.interpolate(
        noise.movedim(-1, 1)[..., :8, :8], noise.shape[1:3], mode="bilinear"
    ).movedim(1, -1),
    "noise": lambda noise: noise,
    "black": torch.zeros_like,
    "nan": lambda noise: torch.full_like(noise, torch.nan),
    "empty": lambda noise: noise[:0],
}


class TestImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        size: dict[str, Any] = {"default": 256, "min": 1, "max": 4096}
        return schema(
            "TestImage",
            [
                io.Int.Input("seed", **SEED),
                io.Int.Input("width", **size, optional=True),
                io.Int.Input("height", **size, optional=True),
                io.Int.Input("batch", default=1, min=1, max=256, optional=True),
                io.Combo.Input("kind", options=list(IMAGES), optional=True),
                io.Int.Input("channels", default=3, min=1, max=4, optional=True),
            ],
            [io.Image.Output()],
        )

    @classmethod
    def execute(
        cls, seed: int, width: int = 256, height: int = 256, batch: int = 1, kind: str = "smooth", channels: int = 3
    ) -> io.NodeOutput:
        generator = torch.Generator().manual_seed(seed)
        return io.NodeOutput(IMAGES[kind](torch.rand((batch, height, width, channels), generator=generator)))


class TestSaveTensor(io.ComfyNode):
    """Write any tensor, LATENT or list of tensors as it is, bit for bit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Custom("*").Input("value"), io.String.Input("name")]
        return schema("TestSaveTensor", inputs, [], is_output_node=True)

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return float("nan")  # runs every time: old ComfyUI does not report what cached nodes had saved

    @classmethod
    def execute(cls, value: Any, name: str) -> io.NodeOutput:
        tensors = dict(tensors_in(value))
        if not tensors:
            raise ValueError(f"TestSaveTensor got {type(value).__name__} without a tensor in it")
        digest = hashlib.sha256(save(tensors)).hexdigest()[:16]
        file = Path(folder_paths.get_output_directory()) / f"{name}-{digest}.safetensors"
        save_file(tensors, file)
        return io.NodeOutput(ui={"tensors": [{"name": name, "filename": file.name}]})


class TestChoice(io.ComfyNode):
    """A value of your own for a combo, which only a link can bring."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema("TestChoice", [io.String.Input("value")], [io.Combo.Output()])

    @classmethod
    def execute(cls, value: str) -> io.NodeOutput:
        return io.NodeOutput(value)


def tensors_in(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested lists, dicts and objects, by dotted path; a bare tensor is called `tensor`."""
    if isinstance(value, torch.Tensor):
        yield path or "tensor", value.detach().cpu().clone().contiguous()
        return
    items: Any = ()
    if isinstance(value, (list, tuple)):
        items = enumerate(value)
    elif isinstance(value, Mapping) or hasattr(value, "__dict__"):
        items = (value if isinstance(value, Mapping) else vars(value)).items()
    for key, item in items:
        yield from tensors_in(item, f"{path}.{key}" if path else str(key))


class TestNodes(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            TestModel, TestCheckpoint, TestVae, TestConditioning, TestClipVision, TestImage, TestSaveTensor,
            TestChoice,
            probe.TestProbe, probe.TestReadProbe, weight_probe.TestWeightProbe, weight_probe.TestWeightReport,
            *callers.NODES, *neighbours.NODES, sent.TestSentPicture, *loaders.NODES, counting.TestCountedStep,
            little_memory.TestLittleMemory, eva.TestEvaClip, *edits.NODES, *transformers.NODES,
        ]  # fmt: skip
