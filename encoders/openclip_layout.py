"""Rename an encoder's tensors to OpenCLIP's names: `visual.*` for the vision tower, `text.*` for the text tower."""

import re
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..ipadapter.errors import AdapterError

Tensors = dict[str, Tensor]

# Prefixes of the text tower in files of OpenCLIP's plain models, which have no `text.` before them.
_BARE_TEXT = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")
_EVA = {  # names in EVA-CLIP's own files -> names in timm, with which OpenCLIP builds this tower
    ".attn.q_bias": ".attn.q_proj.bias",
    ".attn.v_bias": ".attn.v_proj.bias",
    ".attn.inner_attn_ln.": ".attn.norm.",
    ".mlp.w1.": ".mlp.fc1_g.",
    ".mlp.w2.": ".mlp.fc1_x.",
    ".mlp.w3.": ".mlp.fc2.",
    ".mlp.ffn_ln.": ".mlp.norm.",
}
_CLIP_BLOCK = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
}  # fmt: skip
_CLIP_VISION = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.": "ln_pre.",  # spelt like this in transformers' files
    "post_layernorm.": "ln_post.",
}
_CLIP_TEXT = {
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.": "ln_final.",
}
_SIGLIP_BLOCK = {"layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj"}
_SIGLIP_VISION = {
    "embeddings.patch_embedding.": "trunk.patch_embed.proj.",
    "embeddings.position_embedding.weight": "trunk.pos_embed",
    "post_layernorm.": "trunk.norm.",
    "head.probe": "trunk.attn_pool.latent",
    "head.attention.out_proj.": "trunk.attn_pool.proj.",
    "head.layernorm.": "trunk.attn_pool.norm.",
    "head.mlp.": "trunk.attn_pool.mlp.",
}


def to_openclip(tensors: Tensors) -> tuple[Tensors, str]:
    """A new dict of the tensors under OpenCLIP's names, and the layout of the file (a key of LAYOUTS).

    Raises:
        AdapterError: the names are of no layout in LAYOUTS.
    """
    for layout, (mark, convert) in LAYOUTS.items():
        if any(name.startswith(mark) for name in tensors):
            return convert(tensors), layout
    raise AdapterError(
        "This is no vision encoder in OpenCLIP's or transformers' layout: expected tensors such as "
        f"visual.conv1.weight or vision_model.embeddings.patch_embedding.weight, found {sorted(tensors)[:3]}."
    )


def _from_openclip(tensors: Tensors) -> Tensors:
    named = {f"text.{name}" if name.startswith(_BARE_TEXT) else name: tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if name.startswith(("visual.", "text."))}


def _from_eva(tensors: Tensors) -> Tensors:
    """Tensors of EVA-CLIP's vision tower, without its rotary tables (`rope`), constants that timm computes."""
    return {
        "visual.trunk." + _replaced(name, _EVA): tensor
        for name, tensor in _under(tensors, "visual.").items()
        if "rope." not in name
    }


def _replaced(name: str, parts: dict[str, str]) -> str:
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


def _from_transformers(tensors: Tensors) -> Tensors:
    vision, text = _under(tensors, "vision_model."), _under(tensors, "text_model.")
    if "embeddings.class_embedding" not in vision:
        return _prefixed("visual.", _siglip_vision(vision))
    found = _prefixed("visual.", _clip_tower(vision, _CLIP_VISION))
    if "visual_projection.weight" in tensors:
        found["visual.proj"] = tensors["visual_projection.weight"].t()
    if text and "text_projection.weight" in tensors:
        found |= _prefixed("text.", _clip_tower(text, _CLIP_TEXT))
        found["text.text_projection"] = tensors["text_projection.weight"].t()
    return found


def _clip_tower(tensors: Tensors, names: dict[str, str]) -> Tensors:
    joined = _join(tensors, r"(encoder\.layers\.\d+\.)self_attn", "{}self_attn.in_proj_{}")
    renamed = _rename(joined, {**names, "encoder.layers.": "transformer.resblocks."}, _CLIP_BLOCK)
    return {
        name.replace(".self_attn.in_proj_", ".attn.in_proj_"): tensor
        for name, tensor in renamed.items()
        if not name.endswith("position_ids")
    }


def _siglip_vision(tensors: Tensors) -> Tensors:
    joined = _join(tensors, r"(encoder\.layers\.\d+\.)self_attn", "{}attn.qkv.{}")
    renamed = _rename(joined, {**_SIGLIP_VISION, "encoder.layers.": "trunk.blocks."}, _SIGLIP_BLOCK)
    for kind in ("weight", "bias"):  # timm has q apart from k and v in the pooling head
        if (whole := renamed.pop(f"head.attention.in_proj_{kind}", None)) is not None:
            query, *rest = whole.chunk(3)
            renamed[f"trunk.attn_pool.q.{kind}"] = query
            renamed[f"trunk.attn_pool.kv.{kind}"] = torch.cat(rest)
    if "trunk.pos_embed" in renamed:
        renamed["trunk.pos_embed"] = renamed["trunk.pos_embed"].unsqueeze(0)
    return {name: tensor for name, tensor in renamed.items() if not name.endswith("position_ids")}


def _join(tensors: Tensors, block: str, target: str) -> Tensors:
    """Concatenate q, k and v of every block, in this order, as in OpenCLIP and timm."""
    found = dict(tensors)
    for name in tensors:
        if match := re.fullmatch(rf"{block}\.q_proj\.(weight|bias)", name):
            start, kind = name.removesuffix(f"q_proj.{match[2]}"), match[2]
            found[target.format(match[1], kind)] = torch.cat([found.pop(f"{start}{p}_proj.{kind}") for p in "qkv"])
    return found


def _rename(tensors: Tensors, starts: dict[str, str], block: dict[str, str]) -> Tensors:
    def renamed(name: str) -> str:
        for old, new in starts.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
        for old, new in block.items():
            name = name.replace(f".{old}.", f".{new}.")
        return name

    return {renamed(name): tensor for name, tensor in tensors.items()}


def _under(tensors: Tensors, start: str) -> Tensors:
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def has_text(names: Iterable[str]) -> bool:
    """Whether tensors of a text tower are among these names (OpenCLIP's)."""
    return any(name.startswith("text.") for name in names)


LAYOUTS: dict[str, tuple[str, Callable[[Tensors], Tensors]]] = {
    "EVA-CLIP": ("visual.blocks.0.attn.q_bias", _from_eva),  # before OpenCLIP, whose prefix it has too
    "OpenCLIP": ("visual.", _from_openclip),
    "transformers": ("vision_model.", _from_transformers),
}
