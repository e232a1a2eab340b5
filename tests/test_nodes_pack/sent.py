"""Pictures and masks as other programs send them with a prompt, by name."""

from zlib import crc32

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image

from .standins import seeded

SIDE = 64


class TestSentPicture(io.ComfyNode):
    """A photo of the input folder, else a picture that is the name's own; the mask is the half that the name names."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        outputs = [io.Image.Output(), io.Mask.Output()]
        return io.Schema(
            node_id="TestSentPicture", category="testing", inputs=[io.String.Input("name")], outputs=outputs
        )

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        right = (torch.arange(SIDE) >= SIDE // 2).float().expand(1, SIDE, -1)
        return io.NodeOutput(picture_of(name), right if name.startswith("right") else 1 - right)


def picture_of(name: str) -> torch.Tensor:
    file = folder_paths.get_annotated_filepath(f"{name}.png")
    try:
        with Image.open(file) as opened:
            return torch.from_numpy(np.asarray(opened.convert("RGB"))).float().unsqueeze(0) / 255
    except FileNotFoundError:
        return seeded((1, SIDE, SIDE, 3), crc32(name.encode())).sigmoid()
