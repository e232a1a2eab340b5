"""Recognise an OpenCLIP architecture by the shapes of its tensors."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..ipadapter.errors import AdapterError
from .openclip_layout import Tensors, has_text

AUTO = "auto"
Config = dict[str, Any]
HEAD_WIDTH = 64  # OpenCLIP's default for configurations without a head width
NO_TEXT = {"width": 64, "heads": 1, "layers": 1, "vocab_size": 1}  # open_clip needs a text tower; this one is dropped
# Names of rarer architectures, which come last where several have the same shapes. (378 and 384 pixels give the same
# number of 14-pixel patches.)
_RARE = ("quickgelu", "worldwide", "nllb", "i18n", "378", "roberta", "mt5", "CLIPA")
# Tensor methods that initialise weights, or are steps of it.
_FILLS = {"uniform_", "normal_", "trunc_normal_", "erfinv_", "mul_", "add_", "clamp_", "fill_", "zero_"}


class _Unfilled(TorchFunctionMode):
    """Skips the initialisation of tensors on the meta device."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in _FILLS and args and torch.is_tensor(args[0]) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_values() -> Iterator[None]:
    """In this context, modules are built on the meta device, with shapes and without values, and not initialised.

    Initialisation on the meta device runs in Python: with it, recognising a SigLIP took 20 s.
    """
    with torch.device("meta"), _Unfilled():
        yield


def architectures() -> list[str]:
    """The names of OpenCLIP's architectures, read without importing it; empty if it is not installed.

    Captioning models (CoCa) are left out, since they have more parts than an encoder.
    """
    package = find_spec("open_clip")
    if package is None or package.origin is None:
        return []
    files = (Path(package.origin).parent / "model_configs").glob("*.json")
    return sorted(file.stem for file in files if not file.stem.startswith("coca"))


def architecture_of(open_clip: Any, named: Tensors, chosen: str = AUTO) -> tuple[str, Config]:
    """Name and configuration of the architecture of these tensors (under OpenCLIP's names).

    `chosen` is the name of an architecture, or "auto" for recognition by shapes. A plain vision transformer of an
    unpublished size gets a configuration from its shapes, with heads 64 wide.

    Raises:
        AdapterError: the name is unknown, or no architecture has these shapes.
    """
    if chosen != AUTO:
        config = open_clip.get_model_config(chosen)
        if config is None:
            raise AdapterError(f"OpenCLIP {open_clip.__version__} knows no architecture {chosen!r}.")
        return chosen, config
    fits = _plain if "visual.conv1.weight" in named and "visual.class_embedding" in named else _built

    def rank(pair: tuple[str, Config]) -> tuple[bool, int, str]:
        name, _ = pair
        return any(mark in name for mark in _RARE), len(name), name

    if found := sorted(fits(open_clip, named), key=rank):
        return found[0]
    if fits is _plain:
        return _unpublished(named)
    raise AdapterError(
        "The shapes in this file fit no architecture of OpenCLIP "
        f"{open_clip.__version__}: choose the architecture by name, or put its open_clip_config.json beside the file."
    )


def _plain(open_clip: Any, named: Tensors) -> Iterator[tuple[str, Config]]:
    """Candidates among OpenCLIP's own vision transformers, by the numbers in their configurations."""
    sizes = vision_sizes(named)
    for name in architectures():
        config = open_clip.get_model_config(name)
        if _known_vision(config) == (*sizes.values(), _embed_dim(named)) and _text_fits(config, named):
            yield name, config


def _known_vision(config: Config) -> tuple[Any, ...] | None:
    vision = config["vision_cfg"]
    if "timm_model_name" in vision or not isinstance(vision.get("layers"), int):
        return None
    width, patch = vision["width"], vision["patch_size"]
    mlp, grid = int(width * vision.get("mlp_ratio", 4.0)), vision["image_size"] // patch
    return width, vision["layers"], patch, grid, mlp, not vision.get("no_ln_pre", False), config["embed_dim"]


def vision_sizes(named: Tensors) -> dict[str, Any]:
    """Sizes of a plain vision transformer, from its tensors: width, layers, patch (pixels), grid (patches), mlp.

    `ln_pre` says whether a norm comes before the first block.
    """
    conv, positions = named["visual.conv1.weight"], named["visual.positional_embedding"]
    blocks = {name.split(".")[3] for name in named if name.startswith("visual.transformer.resblocks.")}
    return {
        "width": conv.shape[0],
        "layers": len(blocks),
        "patch": conv.shape[-1],
        "grid": math.isqrt(len(positions) - 1),
        "mlp": named["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        "ln_pre": "visual.ln_pre.weight" in named,
    }


def _embed_dim(named: Tensors) -> int:
    if "visual.proj" not in named:
        raise AdapterError(
            "The file has no projection (visual_projection.weight), so it gives no pooled embeds: get the encoder "
            "'with projection'."
        )
    return named["visual.proj"].shape[1]


def _text_sizes(named: Tensors) -> tuple[int, ...]:
    """Vocabulary size, width and longest text in tokens; empty without a text tower of OpenCLIP's own."""
    words, positions = named.get("text.token_embedding.weight"), named.get("text.positional_embedding")
    return (*words.shape, len(positions)) if words is not None and positions is not None else ()


def _text_fits(config: Config, named: Tensors) -> bool:
    text = config["text_cfg"]
    if not has_text(named):
        return True
    return _text_sizes(named) == (text.get("vocab_size", 49408), text.get("width"), text.get("context_length", 77))


def _built(open_clip: Any, named: Tensors) -> Iterator[tuple[str, Config]]:
    """Candidates among all other architectures, whose configurations lack sizes: each is built without values, and the
    shapes of all its tensors are compared.
    """
    shapes = {name.removeprefix("visual."): t.shape for name, t in named.items() if name.startswith("visual.")}
    sizes = {size for shape in shapes.values() for size in shape}
    for name in architectures():
        config = open_clip.get_model_config(name)
        vision = config["vision_cfg"]
        siglip = vision.get("timm_pool") == "map"
        if _known_vision(config) or siglip != ("trunk.attn_pool.latent" in shapes):
            continue
        if ("timm_model_name" in vision) != any(shape.startswith("trunk.") for shape in shapes):
            continue
        if config["embed_dim"] not in sizes:  # every tower has a tensor with a side of embed_dim
            continue
        if has_text(named) and "width" in config["text_cfg"] and not _text_fits(config, named):
            continue
        if visual_shapes(open_clip, name) == shapes:
            yield name, config


@cache
def visual_shapes(open_clip: Any, name: str) -> dict[str, torch.Size]:
    """The shapes of the tensors of an OpenCLIP vision tower; cached, since every further file is compared with them."""
    config = open_clip.get_model_config(name)
    with without_values():
        visual = open_clip.CustomTextCLIP(config["embed_dim"], config["vision_cfg"], NO_TEXT).visual
    return {key: value.shape for key, value in visual.state_dict().items()}


def _unpublished(named: Tensors) -> tuple[str, Config]:
    """A name and a configuration for a plain vision transformer of a size that no published one has."""
    sizes = vision_sizes(named)
    if sizes["width"] % HEAD_WIDTH:
        raise AdapterError(
            f"This vision transformer is {sizes['width']} wide, which is no published size, and how many heads it has "
            "is in no shape: put its open_clip_config.json beside the file."
        )
    vision = {
        "image_size": sizes["grid"] * sizes["patch"], "layers": sizes["layers"], "width": sizes["width"],
        "patch_size": sizes["patch"], "mlp_ratio": sizes["mlp"] / sizes["width"], "no_ln_pre": not sizes["ln_pre"],
    }  # fmt: skip
    config: Config = {"embed_dim": _embed_dim(named), "vision_cfg": vision, "text_cfg": {}}
    if text := _text_sizes(named):
        vocabulary, width, length = text
        layers = {name.split(".")[3] for name in named if name.startswith("text.transformer.resblocks.")}
        config["text_cfg"] = {
            "vocab_size": vocabulary, "width": width, "context_length": length, "layers": len(layers),
            "heads": max(1, width // HEAD_WIDTH),
            "mlp_ratio": named["text.transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / width,
        }  # fmt: skip
    return f"a vision transformer of no published size ({sizes['layers']} layers, {sizes['width']} wide)", config
