"""Headers of published files: every key, shape and type, with values that take no space on the disk.

Real ones are in reference/headers/. The others follow them, or the specification of their layout: OpenCLIP's own names
(model.py of open_clip 3.3), PuLID's (guozinan/PuLID, huchenlei/ipadapter_pulid).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "reference" / "headers"
TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int8: "I8"}
Header = dict[str, Tensor]  # on the meta device


def meta(*shape: int, dtype: torch.dtype = torch.float16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def real(name: str) -> Header:
    """The header of a published file, as it was read from the file."""
    packed = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return {
        key: meta(*shape, dtype=getattr(torch, dtype))
        for template, (dtype, shape) in packed.items()
        for key in _numbered(template)
    }


def _numbered(template: str) -> Iterator[str]:
    """The keys of a template: `layers.{0-23}.to_k` and `{1,3}.to_k` stand for one key for each number."""
    if not (match := re.search(r"\{([\d,-]+)\}", template)):
        yield template
        return
    first, dash, last = match[1].partition("-")
    for number in range(int(first), int(last) + 1) if dash else match[1].split(","):
        yield template.replace(match[0], str(number))


def vision(pooled: int, hidden: int, tokens: int) -> Header:
    """A CLIP vision encoder with transformers' names, in other sizes than the real ViT-H's."""
    sizes = {1024: pooled, 1280: hidden, 5120: 4 * hidden, 257: tokens}
    return {key: _resized(tensor, sizes) for key, tensor in real("ip_adapter_sd1_encoder").items()}


def siglip(tokens: int = 729) -> Header:
    return {key: _resized(tensor, {729: tokens}) for key, tensor in real("siglip").items()}


def _resized(tensor: Tensor, sizes: dict[int, int]) -> Tensor:
    return meta(*(sizes.get(length, length) for length in tensor.shape), dtype=tensor.dtype)


def openclip(pooled: int, hidden: int, tokens: int, text: int = 1024, prefix: str = "visual.") -> Header:
    """OpenCLIP's own file: the text tower's names have no prefix, its projection is in 32 bits over 16-bit layers."""
    header = {f"{prefix}{key}": tensor for key, tensor in _tower(hidden, 2).items()} | {
        f"{prefix}class_embedding": meta(hidden), f"{prefix}conv1.weight": meta(hidden, 3, 14, 14),
        f"{prefix}positional_embedding": meta(tokens, hidden), f"{prefix}ln_pre.weight": meta(hidden),
        f"{prefix}ln_post.weight": meta(hidden), f"{prefix}proj": meta(hidden, pooled, dtype=torch.float32),
    }  # fmt: skip
    if not prefix:
        return header
    return header | _tower(text, 2) | {
        "positional_embedding": meta(77, text), "token_embedding.weight": meta(49408, text),
        "ln_final.weight": meta(text), "text_projection": meta(text, pooled), "logit_scale": meta(dtype=torch.float32),
    }  # fmt: skip


def _tower(width: int, layers: int) -> Header:
    block = {"ln_1.weight": (width,), "attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,),
             "mlp.c_fc.weight": (4 * width, width), "mlp.c_proj.weight": (width, 4 * width)}  # fmt: skip
    return {
        f"transformer.resblocks.{layer}.{key}": meta(*shape) for layer in range(layers) for key, shape in block.items()
    }


def _mlp(name: str, into: int, out: int, dtype: torch.dtype) -> Header:
    widths = {0: (1024, into), 3: (1024, 1024), 6: (out, 1024)}
    return {f"{name}.{layer}.weight": meta(*shape, dtype=dtype) for layer, shape in widths.items()}


def pulid_v1(converted: bool = False) -> Header:
    """`pulid_v1.bin`; converted: huchenlei's copy with the keys of an IP-Adapter."""
    dtype = torch.float16 if converted else torch.float32
    encoder, layers, pair = ("image_proj", "ip_adapter", "to_{}_ip") if converted else (
        "id_adapter", "id_adapter_attn_layers", "id_to_{}"
    )  # fmt: skip
    header = _mlp(f"{encoder}.body", 1280, 10240, dtype)
    for number in range(5):
        header |= _mlp(f"{encoder}.mapping_{number}", 1024, 2048, dtype)
        header |= _mlp(f"{encoder}.mapping_patch_{number}", 1024, 2048, dtype)
    keys = {f"{layers}.{number}.{pair.format(part)}.weight" for number in range(1, 140, 2) for part in "kv"}
    return header | {key: meta(1280, 2048, dtype=dtype) for key in sorted(keys)}


def pulid_former(flux: bool) -> Header:
    """`pulid_v1.1.safetensors`, or `pulid_flux_v0.9.1.safetensors`."""
    encoder = "pulid_encoder" if flux else "id_adapter"
    header = {f"{encoder}.latents": meta(1, 32, 1024), f"{encoder}.proj_out": meta(1024, 2048)}
    header |= _mlp(f"{encoder}.id_embedding_mapping", 1280, 5120, torch.float16)
    header |= {f"{encoder}.layers.{number}.0.to_q.weight": meta(1024, 1024) for number in range(10)}
    if flux:
        return header | {f"pulid_ca.{number}.to_kv.weight": meta(4096, 2048) for number in range(20)}
    layers = "id_adapter_attn_layers"
    return header | {f"{layers}.{n}.id_to_{part}.weight": meta(1280, 2048) for n in range(1, 140, 2) for part in "kv"}


def save(header: Header, path: Path) -> Path:
    """A whole safetensors file with this header; its values are a hole of zeros, which takes no space."""
    entries, end = {}, 0
    for key, tensor in header.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        entries[key] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    written = json.dumps(entries).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(written).to_bytes(8, "little") + written)
        file.truncate(8 + len(written) + end)
    return path


def save_pickle(header: Header, path: Path) -> Path:
    """The same as a pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(filled(header), path)
    return path


def eva(prefix: str = "visual.trunk.") -> Header:
    """Of the EVA02-CLIP L 336 encoder the tensors that tell what it is; its authors' own prefix is `visual.`."""
    shapes = {"pos_embed": (1, 577, 1024), "head.weight": (768, 1024), "blocks.23.attn.q_proj.weight": (1024, 1024)}
    return {prefix + key: meta(*shape) for key, shape in shapes.items()}


def filled(header: Header) -> dict[str, Tensor]:
    """Tensors of zeros, in each of which one number stands for all."""
    return {key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for key, tensor in header.items()}
