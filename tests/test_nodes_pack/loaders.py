"""Stand-ins for loaders of models that stand beside the checkpoint."""

import zlib

import torch
from comfy import controlnet, model_management
from comfy.cldm.cldm import ControlNet
from comfy_api.latest import io

from . import standins, unets


def tiny_control_net(seed: int, family: str = "sd15") -> controlnet.ControlNet:
    """ComfyUI's own ControlNet, with the layout and the widths of the tiny model of a family, of random weights."""
    config = unets.FAMILIES[family][0](unets.unet_config(family, 32, torch.float32)).unet_config
    network = ControlNet(**{name: value for name, value in config.items() if name != "out_channels"}, hint_channels=3)
    unets.seed_weights(network, seed)
    return controlnet.ControlNet(network, load_device=model_management.get_torch_device())


class TestControlNet(io.ComfyNode):
    """Stands in for ControlNetLoader; every name gives weights of its own, `xl` and `instantid` those of an SDXL's."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestControlNet",
            category="testing",
            inputs=[io.String.Input("control_net_name")],
            outputs=[io.ControlNet.Output()],
        )

    @classmethod
    def execute(cls, control_net_name: str) -> io.NodeOutput:
        of_sdxl = "instantid" in control_net_name or standins.family_of(control_net_name) == "sdxl"
        family = "sdxl shallow" if of_sdxl else "sd15"
        return io.NodeOutput(tiny_control_net(zlib.crc32(control_net_name.encode()), family))


NODES: list[type[io.ComfyNode]] = [TestControlNet]
