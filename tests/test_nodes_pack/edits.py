"""Tiny edit models of ComfyUI's own classes, which take reference pictures themselves."""

from inspect import signature
from typing import Any

import comfy.controlnet
import comfy.ops
import torch
from comfy.ldm.flux.controlnet import ControlNetFlux
from comfy_api.latest import io

from .standins import TextStandIn, VaeStandIn
from .transformers import FLUX, KREA, QWEN, SIZE, TEXT, Transformer, model_of, text_of
from .unets import DTYPES, seed_weights

OTHER = (4, 10)  # latent pixels of the second reference; SIZE are those of the canvas and of the first
FLUX2 = FLUX | dict(
    image_model="flux2", in_channels=128, out_channels=128, vec_in_dim=None, axes_dim=[8, 8, 8, 8], theta=2000,
    patch_size=1, qkv_bias=False, txt_ids_dims=[3], global_modulation=True, mlp_silu_act=True, ops_bias=False,
    default_ref_method="index", ref_index_scale=10.0,
)  # fmt: skip
MAGE = dict(
    image_model="mage_flow", in_channels=128, out_channels=128, num_layers=3, attention_head_dim=32,
    num_attention_heads=2, joint_attention_dim=TEXT, axes_dims_rope=(8, 12, 12),
)  # fmt: skip


class EditModel(Transformer):
    """A transformer that takes reference pictures."""

    @property
    def known(self) -> bool:
        """Whether this release of ComfyUI has the model, and gives it references."""
        if not super().known:
            return False
        network = model_of(self).get_model_object("diffusion_model")
        return "ref_latents" in signature(network.forward).parameters


METHOD = "reference_latents_method"
VAES = {"ae.safetensors": "flux", "qwen_image_vae.safetensors": "qwen"}
EVERY_MODEL = {
    "Flux Kontext": EditModel("Flux", FLUX, 4, more={METHOD: "offset"}),
    "Flux.2": EditModel("Flux2", FLUX2, 4, channels=(128,)),
    "Qwen-Image-Edit": EditModel(
        "QwenImage", QWEN | dict(num_layers=3), 3, (16, 1),
        more={METHOD: "index_timestep_zero", "attention_mask": torch.tensor([[1, 1, 1, 1, 0]])},
    ),
    "Krea 2": EditModel("Krea2", KREA | dict(layers=3), 3, (16, 1), 32, {METHOD: "index"}),
    "Mage-Flow": EditModel("MageFlow", MAGE, 3, (128,)),
}  # fmt: skip


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
        return io.NodeOutput(model_of(edit, dtype), text_of(edit, 10, given), text_of(edit, 20, given), empty)


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
        return io.NodeOutput(TextStandIn("edit", pooled=TEXT))


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
