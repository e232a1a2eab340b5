"""Read an adapter's checkpoint, in any published layout, into a config and its two groups of tensors."""

import logging
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from .adapter import AdapterNetwork
from .checks import check_tensors
from .config import AdapterConfig, Checkpoint
from .errors import CheckpointError
from .mechanisms import LayerSizes, Mechanism, mechanism_of, published_names
from .mechanisms.cross_attention import in_diffusers_names
from .names import SHARED_NAMES, variant_by_name, words_of
from .other_files import SAFE_SUFFIXES, is_program, other_content, other_file
from .projection_sizes import Projection, read_projection
from .published import ART
from .sites import KeyNumber

__all__ = ["AdapterConfig", "Checkpoint", "read_checkpoint", "read_file"]
log = logging.getLogger(__name__)

# Prefix of a key -> its group. The names of published files come first, then those of Kolors and training checkpoints.
GROUPS = {
    "image_proj": "image_proj",
    "image_proj_model": "image_proj",
    "ip_adapter": "ip_adapter",
    "adapter_modules": "ip_adapter",
}
Groups = dict[str, dict[str, Tensor]]  # "image_proj", "ip_adapter" and its "lora", as in Checkpoint
KEY_VALUE = re.compile(r"(\d+)\.to_([kv])_ip\.weight")
LORA = re.compile(r"(\d+)\.to_(q|k|v|out)_lora\.(down|up)\.weight")
UNDERSTOOD = (
    "An IP-Adapter holds the groups image_proj and ip_adapter, nested or as key prefixes "
    "(image_proj_model and adapter_modules are understood too)."
)


def read_file(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the tensors and metadata of a .safetensors file, or of a pickle that holds only tensors ({} as metadata).

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, a program, or a pickle that holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No adapter file at {path}.")
    try:
        if path.suffix.lower() in SAFE_SUFFIXES:
            with safe_open(path, framework="pt") as file:
                # Copied, since overwriting a memory-mapped file would crash the process.
                return {key: file.get_tensor(key).clone() for key in file.keys()}, file.metadata() or {}
        return torch.load(path, map_location="cpu", weights_only=True), {}
    except pickle.UnpicklingError:  # torch's message is dropped: it advises to run the file's code
        _refuse_other_content(path)
        raise CheckpointError(
            f"{path.name} cannot be read: it is damaged, or holds more than tensors, which could be a program and is "
            "never run. Get it from where it was published, best as .safetensors."
        ) from None
    except Exception as error:  # torch raises many types for a damaged file: IndexError, OSError...
        _refuse_other_content(path)
        raise CheckpointError(
            f"{path.name} cannot be read: it is damaged, or no model. Download it again. "
            f"({str(error) or type(error).__name__:.200})"
        ) from error


def _refuse_other_content(path: Path) -> None:
    """CheckpointError, without the reader's own, for a file whose first bytes tell why it cannot be read."""
    if is_program(path):
        raise CheckpointError(
            f"{path.name} is a program that PyTorch exported, and programs in model files are never run. Get the "
            "model's tensors, best as .safetensors."
        ) from None
    if found := other_content(path):
        raise CheckpointError(f"{path.name} cannot be read: {found}.") from None


def read_checkpoint(
    state_dict: Mapping[str, Any],
    name: str,
    metadata: Mapping[str, str] | None = None,
    shortcut: bool | None = None,
) -> Checkpoint:
    """Recognise the adapter in a state dict by the shapes of its tensors, and check every tensor.

    `name` is the file's name, for messages and for variants with equal tensors. FaceID Plus and its V2 have the same
    tensors: `shortcut` decides (True: V2), or if it is None the file's metadata, then its name; the choice is logged.
    Raises CheckpointError with the file's name, its content and the layouts that can be read.
    """
    try:
        groups = _split(state_dict)
        config = _config_of(state_dict, groups, name, metadata or {}, shortcut)
        _check_shapes(config, groups)
    except CheckpointError as error:
        raise CheckpointError(
            f"{name} is no adapter that can be used: {error}. {_looks_like(state_dict)}{UNDERSTOOD}"
        ) from error
    layers = len(config.key_numbers)
    log.info("%s: %s for %s, %d tokens, %d layers", name, config.variant, config.family, config.tokens, layers)
    if config.lora_fault:
        log.warning("%s: the LoRA in it cannot be used: %s", name, config.lora_fault)
    return Checkpoint(name, config, **groups)


def _config_of(
    state_dict: Mapping[str, Any], groups: Groups, name: str, metadata: Mapping[str, str], shortcut: bool | None
) -> AdapterConfig:
    """The config of the adapter in a state dict with these groups; other arguments as of `read_checkpoint`.

    Raises:
        CheckpointError: the sizes are those of no adapter.
    """
    layers = groups["ip_adapter"]
    mechanism = mechanism_of(layers)
    channels, context_dim = _read_layers(layers, mechanism)
    projection = mechanism.read_projection(read_projection(groups["image_proj"]))
    _check_projection(projection, context_dim, mechanism)
    lora_fault = _lora_fault(groups["lora"], len(channels))
    if shortcut is None:
        shortcut = _tell_shortcut(state_dict, projection, context_dim, name, metadata)
    unnamed = AdapterConfig(
        variant="",
        family=mechanism.family(projection, context_dim),
        projection=projection,
        context_dim=context_dim,
        key_numbers=tuple(channels),
        channels=tuple(channels.values()),
        has_lora=bool(groups["lora"]) and not lora_fault,
        shortcut=projection.kind == "face plus" and shortcut,
        mechanism=mechanism,
        head_dim=mechanism.head_width(layers),
        model_width=mechanism.model_width(layers),
        lora_fault=lora_fault,
    )
    dtype = next(iter(groups["image_proj"].values())).dtype
    variant = variant_by_name(mechanism.label(unnamed), unnamed.family, dtype, name)
    if variant == "SDXL" and in_diffusers_names(key for key, _ in _flat(state_dict)):
        variant = ART  # the only published adapter with these names
    return replace(unnamed, variant=variant)


def _flat(state_dict: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in state_dict.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{key}", value


def _split(state_dict: Mapping[str, Any]) -> Groups:
    """The groups of a nested or flat state dict, without their prefixes; all keys may have one more prefix.

    Raises:
        CheckpointError: a group but the LoRA is missing, or a tensor is not of floats or has NaN or infinite values.
    """
    if not isinstance(state_dict, Mapping):
        raise CheckpointError(f"it holds a {type(state_dict).__name__} instead of named tensors")

    def heads(tensors: Mapping[str, Tensor]) -> set[str]:
        return {key.partition(".")[0] for key in tensors}

    flat = published_names(dict(_flat(state_dict)))
    inside = {key.partition(".")[2]: tensor for key, tensor in flat.items()}
    if not heads(flat) & GROUPS.keys() and heads(inside) & GROUPS.keys():
        flat = inside
    groups: Groups = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in flat.items():
        head, _, rest = key.partition(".")
        if head in GROUPS:
            groups[GROUPS[head]][rest] = tensor
        elif KEY_VALUE.fullmatch(key) or LORA.fullmatch(key):
            groups["ip_adapter"][key] = tensor
    if empty := [group for group, tensors in groups.items() if not tensors]:
        raise CheckpointError(f"it has no {' and no '.join(empty)} ({_describe(flat)})")
    if wrong := [key for tensors in groups.values() for key, t in tensors.items() if not t.is_floating_point()]:
        raise CheckpointError(f"its {wrong[0]} does not hold floating point numbers")
    for tensors in groups.values():
        if bad := check_tensors(tensors):
            raise CheckpointError(f"its {bad} holds values that are not numbers (NaN or infinite)")
    both = groups["ip_adapter"]
    groups["lora"] = {key: both.pop(key) for key in list(both) if LORA.fullmatch(key)}
    return groups


def _describe(flat: Mapping[str, Tensor]) -> str:
    return f"found {len(flat)} tensors such as {', '.join(list(flat)[:3])}" if flat else "found no tensors"


def _looks_like(state_dict: Any) -> str:
    """A sentence for users: the sort of file and the node that loads it; "" for files that are not in OTHER_FILES."""
    other = other_file(key for key, _ in _flat(state_dict)) if isinstance(state_dict, Mapping) else None
    if other is None:
        return ""
    return f"It looks like {other.title}" + (f": load it with {other.loader}. " if other.loader else ". ")


def _read_layers(layers: Mapping[str, Tensor], mechanism: Mechanism) -> tuple[dict[KeyNumber, int], int]:
    """Channels by key number, in rising order, and the width of the image tokens.

    Raises:
        CheckpointError: numbers have gaps, or keys and values of a layer differ in shape.
    """
    known = mechanism.layer(LayerSizes(1, 1, 1, 1, 1), nn, device="meta").state_dict()
    found: dict[KeyNumber, dict[str, torch.Size]] = {}
    for key, tensor in layers.items():
        number, _, tensor_name = key.partition(".")
        match = KEY_VALUE.fullmatch(key)
        if not number.isdecimal() or tensor_name not in known or (match and tensor.ndim != 2):
            raise CheckpointError(f"its ip_adapter group holds {key} of shape {tuple(tensor.shape)}")
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = tensor.shape
    site, expected = mechanism.site, mechanism.numbers(len(found))
    if not found or tuple(sorted(found)) != expected:
        wanted = ", ".join(map(str, mechanism.numbers(3)))
        raise CheckpointError(f"its {site}s are numbered {sorted(found)}, expected {wanted}... without a gap")
    for number, pair in found.items():
        if set(pair) != {"k", "v"} or pair["k"] != pair["v"]:
            shapes = ", ".join(f"to_{part}_ip {tuple(shape)}" for part, shape in sorted(pair.items()))
            raise CheckpointError(f"{site} {number} needs to_k_ip and to_v_ip of one shape, found {shapes}")
    widths = {pair["k"][1] for pair in found.values()}
    if len(widths) > 1:
        raise CheckpointError(f"its {site}s read tokens of different widths {sorted(widths)}")
    return {number: found[number]["k"][0] for number in expected}, widths.pop()


def _check_projection(projection: Projection, context_dim: int, mechanism: Mechanism) -> None:
    # The tokens of Kolors FaceID Plus are as wide as its text encoder's; the UNet's text projection halves the width.
    wide = projection.kind == "face plus" and projection.token_dim == 2 * context_dim
    if projection.token_dim != context_dim and not wide:
        raise CheckpointError(f"its projection gives tokens {projection.token_dim} wide, its layers read {context_dim}")
    if projection.timed != mechanism.timed:
        needs = "that of a time resampler" if mechanism.timed else "one without the time"
        raise CheckpointError(
            f"its layers are those of a {mechanism.name}, whose projection is {needs}, and its projection is "
            f"{projection.kind}"
        )


def _lora_fault(lora: Mapping[str, Tensor], layers: int) -> str:
    """The first incomplete part of a file's LoRA; "" for a complete LoRA or none. Adapters work without their LoRA."""
    if not lora:
        return ""
    for number in range(2 * layers):
        for part in ("q", "k", "v", "out"):
            down, up = (lora.get(f"{number}.to_{part}_lora.{half}.weight") for half in ("down", "up"))
            if down is None or up is None or down.ndim != 2 or up.ndim != 2 or len(down) != up.shape[1]:
                return f"attention {number}.to_{part} is not complete"
    return ""


def _check_shapes(config: AdapterConfig, groups: Groups) -> None:
    """Compare names and shapes of all tensors with a network of this config; CheckpointError for a difference."""
    network = AdapterNetwork(config, device="meta")
    for group in ("image_proj", "ip_adapter"):
        tensors = groups[group]
        expected = {key: t.shape for key, t in network.get_submodule(group).state_dict().items()}
        found = {key: t.shape for key, t in tensors.items()}
        if wrong := sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)):
            key = wrong[0]
            want, have = (tuple(s[key]) if key in s else "nothing" for s in (expected, found))
            raise CheckpointError(f"{len(wrong)} tensors do not fit: {group}.{key} should be {want}, found {have}")


def _tell_shortcut(
    state_dict: Mapping[str, Any], projection: Projection, context_dim: int, name: str, metadata: Mapping[str, str]
) -> bool:
    """Whether a FaceID Plus is V2, by metadata or name, since both have the same tensors; False for other kinds."""
    if projection.kind != "face plus":
        return False
    if projection.token_dim != context_dim:
        return True  # Kolors FaceID Plus is published with the shortcut only
    path = Path(name.replace("\\", "/"))
    own = str(path) if words_of(path.stem) in SHARED_NAMES else path.name
    texts = {"its metadata": " ".join(metadata.values()), "its file name": own}
    if "faceidplusv2" in state_dict:  # a key that other packs' loaders add
        log.info("%s: FaceID Plus %s, as its loader says", name, "V2" if state_dict["faceidplusv2"] else "V1")
        return bool(state_dict["faceidplusv2"])
    for source, text in texts.items():
        if match := re.search(r"faceidplus(v2)?|(plusv2)", re.sub(r"[-_. ]", "", text.lower())):
            shortcut = any(match.groups())
            log.info("%s: FaceID Plus %s, as in %s", name, "V2" if shortcut else "V1", source)
            return shortcut
    shortcut = context_dim == 2048  # for SDXL only V2 was published
    log.warning("%s: FaceID Plus %s assumed: neither metadata nor name say which", name, "V2" if shortcut else "V1")
    return shortcut
