"""PuLID for Flux: after some blocks, the picture attends to the identity's tokens with the adapter's own queries.

Published as guozinan/PuLID, pulid_flux_v0.9.0 and v0.9.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ..attention import Pair
from ..errors import ModelMismatchError
from ..families import FLUX, Block
from ..sites import FLUX_BLOCKS, KeyNumber, Site
from ..token_attention import token_attention
from .mechanism import BlockRun, LayerSizes, Mechanism, linears

if TYPE_CHECKING:
    from ..config import AdapterConfig

HEAD = 128  # width of a head; published files have 16 heads
EVERY = {"double": 2, "single": 4}  # it acts after the first block of a part, and every second or fourth from there
GROUPS = {"pulid_encoder.": "image_proj.", "pulid_ca.": "ip_adapter."}
KEYS_VALUES = re.compile(r"(ip_adapter\.\d+\.)to_kv\.weight")


class OwnQueries(Mechanism):
    name = "attention with queries of its own"
    variants = ("PuLID Flux",)
    parts = tuple(FLUX_BLOCKS.parts)
    made_for = FLUX.name
    reads_attention = False
    while_sampling = ("norm2", "to_q", "to_out")
    scalings = ("V only",)

    def fits(self, layers: Mapping[str, Tensor]) -> bool:
        return "0.to_q.weight" in layers

    def published(self, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published files have one matrix for keys and values, keys first; it is split into two views."""
        named: dict[str, Tensor] = {}
        for key, tensor in flat.items():
            for old, new in GROUPS.items():
                key = new + key.removeprefix(old) if key.startswith(old) else key
            if (match := KEYS_VALUES.fullmatch(key)) and tensor.ndim == 2 and len(tensor) % 2 == 0:
                named[f"{match[1]}to_k_ip.weight"], named[f"{match[1]}to_v_ip.weight"] = tensor.chunk(2)
            else:
                named[key] = tensor
        return named

    def model_width(self, layers: Mapping[str, Tensor]) -> int:
        return len(layers["0.norm2.weight"]) if "0.norm2.weight" in layers else 0

    def acts_in(self, block: Block) -> bool:
        part, number = block
        return number % EVERY[part] == 0

    def match(self, sites: Sequence[Site], config: AdapterConfig) -> tuple[KeyNumber | None, ...]:
        acting = [site for site in sites if self.acts_in(site.block)]
        widths = {site.channels for site in sites}
        if len(acting) != len(config.key_numbers) or widths != {config.model_width}:
            raise ModelMismatchError(
                f"PuLID has weights for {len(config.key_numbers)} blocks {config.model_width} wide, and acts behind "
                f"each second double and each fourth single block: in this model these are {len(acting)}, "
                f"{' or '.join(map(str, sorted(widths)))} wide. Use a full Flux.1 model, with 19 double and 38 single "
                "blocks."
            )
        numbers = iter(config.key_numbers)
        return tuple(next(numbers) if self.acts_in(site.block) else None for site in sites)

    def heads(self, channels: int, site: Site) -> int:
        return channels // HEAD

    def layer(self, sizes: LayerSizes, operations: Any, **where: Any) -> nn.ModuleDict:
        modules = linears(sizes, operations, **where)
        modules["norm1"] = operations.LayerNorm(sizes.context, **where)
        modules["norm2"] = operations.LayerNorm(sizes.model, **where)
        modules["to_q"] = operations.Linear(sizes.model, sizes.channels, bias=False, **where)
        modules["to_out"] = operations.Linear(sizes.channels, sizes.model, bias=False, **where)
        return modules

    def keys_values(self, layer: nn.ModuleDict, tokens: Tensor, heads: int, time: Tensor | None) -> Pair:
        return super().keys_values(layer, layer["norm1"](tokens), heads, time)

    def after_block(self, run: BlockRun, img: Tensor) -> Tensor:
        """Every prompt attends with the block's own output, not that of the prompt before, so order does not matter."""
        text = run.text if run.site.block[0] == "single" else 0
        picture = out = img[:, text:]
        for image in run.images(self):
            layer = cast(nn.ModuleDict, image.layer)
            queries = layer["to_q"](layer["norm2"](picture)).unflatten(-1, (image.keys.shape[1], -1)).transpose(1, 2)
            seen = layer["to_out"](token_attention(queries, image.keys, image.values, run.attend))
            out = image.added(out, seen)
        run.show(picture, out)
        return torch.cat((img[:, :text], out), dim=1) if text else out
