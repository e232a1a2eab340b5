"""Tiny edit models of ComfyUI's own classes, which take reference pictures themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from typing import Any

import comfy.controlnet
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import torch
from comfy.ldm.flux.controlnet import ControlNetFlux
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from .standins import TextStandIn, VaeStandIn, seeded
from .unets import DTYPES, seed_weights

SIZE = (8, 6)  # latent pixels of the canvas and of the first reference
OTHER = (4, 10)  # of the second reference
FLUX = dict(
    image_model="flux", in_channels=16, out_channels=16, vec_in_dim=24, context_in_dim=24, hidden_size=64,
    mlp_ratio=2.0, num_heads=2, depth=2, depth_single_blocks=2, axes_dim=[8, 12, 12], theta=10000, patch_size=2,
    qkv_bias=True, guidance_embed=True, txt_ids_dims=[],
)  # fmt: skip
FLUX2 = FLUX | dict(
    image_model="flux2", in_channels=128, out_channels=128, vec_in_dim=None, axes_dim=[8, 8, 8, 8], theta=2000,
    patch_size=1, qkv_bias=False, txt_ids_dims=[3], global_modulation=True, mlp_silu_act=True, ops_bias=False,
    default_ref_method="index", ref_index_scale=10.0,
)  # fmt: skip
QWEN = dict(
    image_model="qwen_image", in_channels=64, out_channels=16, num_layers=3, attention_head_dim=32,
    num_attention_heads=2, joint_attention_dim=24, axes_dims_rope=(8, 12, 12),
)  # fmt: skip
KREA = dict(
    image_model="krea2", features=64, tdim=32, txtdim=16, heads=2, kvheads=1, multiplier=2, layers=3, txtlayers=2,
    txtheads=2, txtkvheads=2,
)  # fmt: skip
MAGE = dict(
    image_model="mage_flow", in_channels=128, out_channels=128, num_layers=3, attention_head_dim=32,
    num_attention_heads=2, joint_attention_dim=24, axes_dims_rope=(8, 12, 12),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class EditModel:
    """A model of ComfyUI: its class among the supported ones, its sizes, and what its conditionings need."""

    name: str
    sizes: dict[str, Any]
    layers: int
    channels: tuple[int, ...] = (16,)  # of a latent, with the frames of models that have them
    text: int = 24  # width
    more: dict[str, Any] = field(default_factory=dict)

    def latent(self, seed: int, size: tuple[int, int] = SIZE) -> Tensor:
        return seeded((1, *self.channels, *size), seed) * 0.5

    @property
    def known(self) -> bool:
        """Whether this release of ComfyUI has the model, and gives it references."""
        if not hasattr(comfy.supported_models, self.name):
            return False
        return "ref_latents" in signature(network(self).forward).parameters


METHOD = "reference_latents_method"
VAES = {"ae.safetensors": "flux", "qwen_image_vae.safetensors": "qwen"}
EVERY_MODEL = {
    "Flux Kontext": EditModel("Flux", FLUX, 4, more={METHOD: "offset"}),
    "Flux.2": EditModel("Flux2", FLUX2, 4, channels=(128,)),
    "Qwen-Image-Edit": EditModel(
        "QwenImage", QWEN, 3, (16, 1),
        more={METHOD: "index_timestep_zero", "attention_mask": torch.tensor([[1, 1, 1, 1, 0]])},
    ),
    "Krea 2": EditModel("Krea2", KREA, 3, (16, 1), 32, {METHOD: "index"}),
    "Mage-Flow": EditModel("MageFlow", MAGE, 3, (128,)),
}  # fmt: skip


@cache
def model_of(kind: EditModel, dtype: str = "fp32") -> ModelPatcher:
    config = getattr(comfy.supported_models, kind.name)(dict(kind.sizes))
    config.set_inference_dtype(DTYPES[dtype], None)
    model = config.get_model({}, "", "cpu")
    seed_weights(model.diffusion_model, 1)
    model.to(DTYPES[dtype])
    device = torch.device("cpu")
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=device)


def network(kind: EditModel) -> Any:
    return model_of(kind).get_model_object("diffusion_model")


def texts(kind: EditModel, seed: int, references: Sequence[Tensor] = ()) -> list[list[Any]]:
    """A CONDITIONING of five tokens with reference pictures, as Set Reference Latent leaves them there."""
    given = {"reference_latents": list(references)} if references else {}
    pooled = {"pooled_output": seeded((1, 24), seed + 1)}
    return [[seeded((1, 5, kind.text), seed), {**pooled, **kind.more, **given}]]


class TestEditModel(io.ComfyNode):
    """A tiny edit model, two prompts with references, and an empty latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [
            io.Combo.Input("kind", options=list(EVERY_MODEL)),
            io.Int.Input("references", default=2, max=2, optional=True),
            io.Combo.Input("dtype", options=list(DTYPES), optional=True),
            io.Int.Input("batch", default=1, optional=True),
            io.Int.Input("again", default=0, optional=True),  # so that ComfyUI's cache does not know the node
        ]
        outputs = [io.Model.Output(), io.Conditioning.Output(), io.Conditioning.Output(), io.Latent.Output()]
        return io.Schema(node_id="TestEditModel", category="testing", inputs=inputs, outputs=outputs)

    @classmethod
    def execute(
        cls, kind: str, references: int = 2, dtype: str = "fp32", batch: int = 1, again: int = 0
    ) -> io.NodeOutput:
        edit = EVERY_MODEL[kind]
        given = [edit.latent(11), edit.latent(12, OTHER)][:references]
        empty = {"samples": torch.zeros(batch, *edit.channels, *SIZE)}
        return io.NodeOutput(model_of(edit, dtype), texts(edit, 10, given), texts(edit, 20, given), empty)


class TestEditLoader(io.ComfyNode):
    """Stands in for UNETLoader; the name of the file says which edit model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.String.Input("unet_name"), io.String.Input("weight_dtype", optional=True)]
        return io.Schema(node_id="TestEditLoader", category="testing", inputs=inputs, outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, unet_name: str, weight_dtype: str = "") -> io.NodeOutput:
        return io.NodeOutput(model_of(EVERY_MODEL["Qwen-Image-Edit" if "qwen" in unet_name else "Flux Kontext"]))


class TestEditText(io.ComfyNode):
    """Stands in for the loaders of text encoders."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(node_id="TestEditText", category="testing", inputs=[], outputs=[io.Clip.Output()])

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(TextStandIn("edit", pooled=24))


class TestVaeLoader(io.ComfyNode):
    """Stands in for VAELoader; the name of the file says of which model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.String.Input("vae_name")]
        return io.Schema(node_id="TestVaeLoader", category="testing", inputs=inputs, outputs=[io.Vae.Output()])

    @classmethod
    def execute(cls, vae_name: str) -> io.NodeOutput:
        return io.NodeOutput(VaeStandIn(VAES.get(vae_name, "sdxl")))


class TestEditControlNet(io.ComfyNode):
    """ComfyUI's own ControlNet for Flux in XLabs' form, with the widths of the tiny Kontext and random weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        outputs = [io.ControlNet.Output()]
        return io.Schema(node_id="TestEditControlNet", category="testing", inputs=[], outputs=outputs)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        places: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
        network = ControlNetFlux(operations=comfy.ops.disable_weight_init, **places, **FLUX)
        seed_weights(network, 3)
        more = {"load_device": torch.device("cpu"), "extra_conds": ["y", "guidance"]}
        return io.NodeOutput(comfy.controlnet.ControlNet(network, **more))


NODES: list[type[io.ComfyNode]] = [TestEditControlNet, TestEditModel, TestEditLoader, TestEditText, TestVaeLoader]
