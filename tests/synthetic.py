"""Adapters with seeded random weights, of every published kind and in every published layout, for a UNet of any width.

Sizes default to the published ones; pass smaller ones for tests, and device="meta" where only shapes matter.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

Nested = dict[str, dict[str, Tensor]]
FACE_DIM = 512


def sd15_channels(base: int = 320) -> list[int]:
    """Widths of SD1.5's 16 cross-attentions in checkpoint order: input blocks, output blocks, middle block."""
    return [base * m for m in [1, 1, 2, 2, 4, 4, *[4] * 3, *[2] * 3, *[1] * 3, 4]]


def sdxl_channels(base: int = 320, depths: tuple[int, int] = (2, 10)) -> list[int]:
    """Widths of SDXL's 70 cross-attentions in checkpoint order; depths: transformer blocks per level."""
    two, four = depths
    return [base * m for m in [*[2] * 2 * two, *[4] * 2 * four, *[4] * 3 * four, *[2] * 3 * two, *[4] * four]]


@dataclass(frozen=True)
class Sizes:
    """What an adapter is made for; 0: the published size of the kind."""

    context: int = 768  # width of the UNet's text tokens
    channels: Sequence[int] = ()  # widths of its cross-attentions, in checkpoint order
    pooled: int = 1024  # width of the vision encoder's pooled embeds
    hidden: int = 1280  # width of its hidden states; never 512, which is a face's width
    dim: int = 0  # width inside a resampler
    inner: int = 0  # of its feed-forward layers; published ones are four times as wide as it
    heads: int = 0
    tokens: int = 0
    face_hidden: int = 0
    depth: int = 4
    rank: int = 128  # of the FaceID LoRA
    lora: bool = True


class Maker:
    """Draws tensors one after another from one seed."""

    def __init__(self, seed: int, device: str, dtype: torch.dtype) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.device, self.dtype = device, dtype

    def __call__(self, *shape: int) -> Tensor:
        if self.device == "meta":
            return torch.empty(shape, device="meta", dtype=self.dtype)
        scale = 1 / math.sqrt(shape[-1]) if len(shape) > 1 else 0.1
        return (torch.randn(shape, generator=self.generator) * scale).to(self.device, self.dtype)

    def linear(self, name: str, into: int, out: int, bias: bool = True) -> dict[str, Tensor]:
        return {f"{name}.weight": self(out, into), **({f"{name}.bias": self(out)} if bias else {})}

    def norm(self, name: str, dim: int) -> dict[str, Tensor]:
        return {f"{name}.weight": self(dim) + 1, f"{name}.bias": self(dim)}

    def resampler(
        self, prefix: str, into: int, dim: int, out: int, heads: int, depth: int, inner: int = 0
    ) -> dict[str, Tensor]:
        group = self.linear(f"{prefix}proj_in", into, dim) | self.linear(f"{prefix}proj_out", dim, out)
        group |= self.norm(f"{prefix}norm_out", out)
        inner = inner or dim * 4
        for i in range(depth):
            attention, feed = f"{prefix}layers.{i}.0", f"{prefix}layers.{i}.1"
            group |= self.norm(f"{attention}.norm1", dim) | self.norm(f"{attention}.norm2", dim)
            group |= self.linear(f"{attention}.to_q", dim, heads * 64, bias=False)
            group |= self.linear(f"{attention}.to_kv", dim, heads * 128, bias=False)
            group |= self.linear(f"{attention}.to_out", heads * 64, dim, bias=False)
            group |= self.norm(f"{feed}.0", dim) | self.linear(f"{feed}.1", dim, inner, bias=False)
            group |= self.linear(f"{feed}.3", inner, dim, bias=False)
        return group


def _standard(make: Maker, s: Sizes) -> dict[str, Tensor]:
    return make.linear("proj", s.pooled, (s.tokens or 4) * s.context) | make.norm("norm", s.context)


def _plus(make: Maker, s: Sizes, into: int = 0) -> dict[str, Tensor]:
    dim = s.dim or (1280 if s.context == 2048 else s.context)
    latents = {"latents": make(1, s.tokens or 16, dim)}
    heads = s.heads or max(1, dim // 64)
    return latents | make.resampler("", into or s.hidden, dim, s.context, heads, s.depth, s.inner)


def _kolors_plus(make: Maker, s: Sizes) -> dict[str, Tensor]:
    return _plus(make, replace(s, dim=s.dim or s.context, heads=s.heads or 12))


def _unnorm(make: Maker, s: Sizes) -> dict[str, Tensor]:
    return _plus(make, s, FACE_DIM)


def _full_face(make: Maker, s: Sizes) -> dict[str, Tensor]:
    layers = make.linear("proj.0", s.hidden, s.hidden) | make.linear("proj.2", s.hidden, s.context)
    return layers | make.norm("proj.3", s.context)


def _face(make: Maker, s: Sizes) -> dict[str, Tensor]:
    hidden = s.face_hidden or 1024
    layers = make.linear("proj.0", FACE_DIM, hidden) | make.linear("proj.2", hidden, (s.tokens or 4) * s.context)
    return layers | make.norm("norm", s.context)


def _portrait(make: Maker, s: Sizes) -> dict[str, Tensor]:
    return _face(make, replace(s, tokens=s.tokens or 16))


def _face_plus(make: Maker, s: Sizes) -> dict[str, Tensor]:
    heads = s.heads or max(1, s.context // 64)
    return _face(make, s) | make.resampler(
        "perceiver_resampler.", s.hidden, s.context, s.context, heads, s.depth, s.inner
    )


def _kolors_face(make: Maker, s: Sizes) -> dict[str, Tensor]:
    return _face_plus(make, replace(s, context=s.context * 2, tokens=s.tokens or 6))


PROJECTIONS: dict[str, Callable[[Maker, Sizes], dict[str, Tensor]]] = {
    "standard": _standard,
    "light": _standard,
    "ViT-G": _standard,
    "SDXL": _standard,
    "SDXL style at 448 pixels": _standard,
    "plus": _plus,
    "plus face": _plus,
    "composition": _plus,
    "SDXL plus": _plus,
    "full face": _full_face,
    "FaceID": _face,
    "FaceID Plus": _face_plus,
    "FaceID Plus V2": _face_plus,
    "FaceID portrait": _portrait,
    "FaceID portrait unnorm": _unnorm,
    "InstantID": _unnorm,
    "Kolors plus": _kolors_plus,
    "Kolors FaceID Plus": _kolors_face,
}
WITH_LORA = ("FaceID", "FaceID Plus", "FaceID Plus V2")
# File name, variant and published sizes of every kind of file in the model zoo.
ZOO: dict[str, tuple[str, dict[str, Any]]] = {
    "ip-adapter_sd15.safetensors": ("standard", {}),
    "ip-adapter_sd15_light_v11.bin": ("light", {}),
    "ip-adapter_sd15_vit-G.safetensors": ("ViT-G", {"pooled": 1280}),
    "ip-adapter-plus_sd15.safetensors": ("plus", {}),
    "ip-adapter-plus-face_sd15.safetensors": ("plus face", {}),
    "ip-adapter-full-face_sd15.safetensors": ("full face", {}),
    "ip_plus_composition_sd15.safetensors": ("composition", {}),
    "ip-adapter_sdxl.safetensors": ("SDXL", {"context": 2048, "pooled": 1280}),
    "ip-adapter_sdxl_vit-h.safetensors": ("SDXL", {"context": 2048}),
    "ip-adapter-plus_sdxl_vit-h.safetensors": ("SDXL plus", {"context": 2048}),
    "ip-adapter-plus-face_sdxl_vit-h.safetensors": ("plus face", {"context": 2048}),
    "ip_plus_composition_sdxl.safetensors": ("composition", {"context": 2048}),
    "ip-adapter-faceid_sd15.bin": ("FaceID", {}),
    "ip-adapter-faceid-plus_sd15.bin": ("FaceID Plus", {}),
    "ip-adapter-faceid-plusv2_sd15.bin": ("FaceID Plus V2", {}),
    "ip-adapter-faceid-portrait-v11_sd15.bin": ("FaceID portrait", {}),
    "ip-adapter-faceid_sdxl.bin": ("FaceID", {"context": 2048}),
    "ip-adapter-faceid-plusv2_sdxl.bin": ("FaceID Plus V2", {"context": 2048}),
    "ip-adapter-faceid-portrait_sdxl.bin": ("FaceID portrait", {"context": 2048}),
    "ip-adapter-faceid-portrait_sdxl_unnorm.bin": ("FaceID portrait unnorm", {"context": 2048}),
    "noobIPAMARK1_mark1.safetensors": ("SDXL", {"context": 2048, "pooled": 1280}),
    "ip_adapter_Noobtest_800000.bin": ("SDXL", {"context": 2048}),
    "ipAdapterPlusAnime_v10.safetensors": ("plus", {}),
    "styleIpadapterFor_v10.safetensors": ("SDXL style at 448 pixels", {"context": 2048, "pooled": 1280}),
    "instantid-ip-adapter.bin": ("InstantID", {"context": 2048}),
    "Kolors-IP-Adapter-Plus.bin": ("Kolors plus", {"context": 2048, "hidden": 1024}),
    "Kolors-IP-Adapter-FaceID-Plus.bin": ("Kolors FaceID Plus", {"context": 2048, "hidden": 1024}),
}


IN_32_BITS = (
    "noobIPAMARK1_mark1.safetensors", "ip_adapter_Noobtest_800000.bin", "ipAdapterPlusAnime_v10.safetensors",
    "instantid-ip-adapter.bin",
)  # fmt: skip


def published_dtype(name: str) -> torch.dtype:
    """The type in which a file of the zoo is published, by its size."""
    return torch.float32 if name in IN_32_BITS else torch.float16


def adapter(
    variant: str,
    *,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    **sizes: Any,
) -> Nested:
    """The groups image_proj and ip_adapter of one variant; `sizes` are the fields of Sizes.

    Channels default to those of SD1.5, or of SDXL where the context is 2048 wide.
    """
    s, make = Sizes(**sizes), Maker(seed, device, dtype)
    channels = s.channels or (sdxl_channels() if s.context == 2048 else sd15_channels())
    layers: dict[str, Tensor] = {}
    for number, width in zip(range(1, 2 * len(channels), 2), channels, strict=True):
        layers |= make.linear(f"{number}.to_k_ip", s.context, width, bias=False)
        layers |= make.linear(f"{number}.to_v_ip", s.context, width, bias=False)
    group = PROJECTIONS[variant](make, s)
    if variant in WITH_LORA and s.lora:
        layers |= _lora(make, s, channels)
    return {"image_proj": group, "ip_adapter": layers}


def _lora(make: Maker, s: Sizes, channels: Sequence[int]) -> dict[str, Tensor]:
    """Low-rank changes of q, k, v and out of every attention; even numbers are the self-attentions."""
    rank = min(s.rank, *channels)
    halves: dict[str, Tensor] = {}
    for number in range(2 * len(channels)):
        width = channels[number // 2]
        for part in ("q", "k", "v", "out"):
            into = s.context if number % 2 and part in ("k", "v") else width
            halves |= make.linear(f"{number}.to_{part}_lora.down", into, rank, bias=False)
            halves |= make.linear(f"{number}.to_{part}_lora.up", rank, width, bias=False)
    return halves


def flat(nested: Nested, image_proj: str = "image_proj", ip_adapter: str = "ip_adapter") -> dict[str, Tensor]:
    """Flat keys as in .safetensors files; training checkpoints say image_proj_model and adapter_modules."""
    prefixes = {"image_proj": image_proj, "ip_adapter": ip_adapter}
    return {f"{prefixes[group]}.{key}": tensor for group, tensors in nested.items() for key, tensor in tensors.items()}


def save(nested: Nested, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write as published: flat keys in .safetensors, groups in anything else."""
    if path.suffix == ".safetensors":
        save_file(flat(nested), path, metadata=metadata)
    else:
        torch.save(nested, path)
    return path
