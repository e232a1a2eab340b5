"""XLabs' adapters for Flux: the attention to image tokens is added to a double block's output for the picture.

Published as XLabs-AI/flux-ip-adapter, v1 and v2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..families import FLUX
from ..token_attention import add_image_tokens
from .mechanism import BlockRun, LayerSizes, Mechanism, linears

if TYPE_CHECKING:
    from ..config import AdapterConfig

V2_TOKENS = 16  # v1 has 4
LAYER = re.compile(r"^double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\.")
PROJECTION = re.compile(r"^ip_adapter_proj_model\.")


class BlockOutput(Mechanism):
    name = "block output"
    variants = ("XLabs Flux", "XLabs Flux v2")
    parts = ("double",)
    made_for = FLUX.name
    no_picture = "black"  # the training code encodes a black picture

    def fits(self, layers: Mapping[str, Tensor]) -> bool:
        return "0.to_k_ip.bias" in layers

    def label(self, config: AdapterConfig) -> str:
        return self.variants[config.tokens >= V2_TOKENS]

    def published_name(self, key: str) -> str:
        return PROJECTION.sub("image_proj.", LAYER.sub(r"ip_adapter.\1.to_\2_ip.", key))

    def layer(self, sizes: LayerSizes, operations: Any, **where: Any) -> nn.ModuleDict:
        return linears(sizes, operations, bias=True, **where)

    def after_block(self, run: BlockRun, img: Tensor) -> Tensor:
        out = add_image_tokens(img, run.queries[:, :, run.text :], run.images(self), run.attend)
        run.show(img, out)
        return out
