"""Bytes at the published sizes: the adapter's weights, and what stays on the device while sampling."""

from collections.abc import Sequence
from typing import Any

import torch

import synthetic
import synthetic_transformers
from identity.pulid_files import pulid
from pack.ipadapter.adapter import AdapterNetwork, split_off_acting
from pack.ipadapter.cache import tensor_bytes
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.image_prompt import NEGATIVE, POSITIVE, ImagePrompt, KeysValues, Rows, arrange
from pack.nodes.applying.sources import Stored
from pack.weight_schedules.layers import LayerWeights
from pack.weight_schedules.schedule import of_layers
from performance.rig import Rig

HALF = torch.float16
KINDS: dict[str, dict[str, Any]] = {
    "SD1.5, 4 tokens": {"variant": "standard", "context": 768, "channels": synthetic.sd15_channels(), "tokens": 4},
    "SD1.5, 16 tokens": {"variant": "plus", "context": 768, "channels": synthetic.sd15_channels(), "tokens": 16},
    "SDXL, 4 tokens": {"variant": "SDXL", "context": 2048, "channels": synthetic.sdxl_channels(), "tokens": 4},
    "SDXL, 16 tokens": {"variant": "plus", "context": 2048, "channels": synthetic.sdxl_channels(), "tokens": 16},
    "SDXL, InstantID": {"variant": "InstantID", "context": 2048, "channels": synthetic.sdxl_channels(), "tokens": 16},
}
TRANSFORMERS = {  # name: published file
    "Flux, XLabs": "ip_adapter.safetensors",
    "Flux, XLabs v2": "flux-ip-adapter-v2.safetensors",
    "Flux, InstantX": "flux.1-dev-ip-adapter.bin",
    "SD3.5 Large, InstantX": "sd3.5-large-ip-adapter.bin",  # what is kept is of one step
}
PULIDS = {  # name: published file, tokens of a person
    "SDXL, PuLID": ("pulid_v1.bin", 10),
    "SDXL, PuLID v1.1": ("pulid_v1.1.safetensors", 32),
    "Flux, PuLID": ("pulid_flux_v0.9.1.safetensors", 32),
}
OF_SITES = ("double_blocks", "ip_adapter")  # what holds the weights that make keys and values


def measure_bytes() -> dict[str, dict[str, float]]:
    """Megabytes (10^6) in fp16, for one picture and both rows of CFG."""
    rig = Rig("sd15")
    needed = rig.follow(rig.bare()).model_patches_models()  # what ComfyUI loads beside the UNet for sampling
    results = {}
    for name, kind in KINDS.items():
        sizes = {key: kind[key] for key in ("context", "channels", "tokens")}
        weights = synthetic.adapter(kind["variant"], device="meta", dtype=HALF, **sizes)
        results[name] = {
            "adapter": tensor_bytes(weights) / 1e6,
            "to_k_ip and to_v_ip": tensor_bytes(weights["ip_adapter"]) / 1e6,
            "kept on the device": kept_bytes(kind["channels"], kind["tokens"]) / 1e6,
            "adapter on the device while sampling": sum(model.model_size() for model in needed) / 1e6,
        }
    results |= {name: _transformer(synthetic_transformers.PUBLISHED[file]) for name, file in TRANSFORMERS.items()}
    return results | {name: _pulid(file, tokens) for name, (file, tokens) in PULIDS.items()}


def _transformer(sizes: dict[str, Any]) -> dict[str, float]:
    """Megabytes of an adapter for a transformer; one whose keys and values change with time stays while sampling."""
    weights = synthetic_transformers.adapter(device="meta", **sizes)
    half = HALF.itemsize / torch.float32.itemsize
    whole = half * tensor_bytes(weights)
    of_sites = half * tensor_bytes([x for key, x in weights.items() if key.split(".")[0] in OF_SITES])
    kept = kept_bytes([sizes["channels"]] * sizes["blocks"], sizes["tokens"])
    loaded = whole if sizes["kind"] == "InstantX SD3.5" else 0.0
    return {
        "adapter": whole / 1e6,
        "to_k_ip and to_v_ip": of_sites / 1e6,
        "kept on the device": kept / 1e6,
        "adapter on the device while sampling": loaded / 1e6,
    }


def _pulid(file: str, tokens: int) -> dict[str, float]:
    """Megabytes of a PuLID, of which Flux' layers with queries of their own stay on the device while sampling."""
    checkpoint = read_checkpoint(pulid(file, device="meta", dtype=HALF, published=True), file)
    network = AdapterNetwork.from_checkpoint(checkpoint)
    acting = split_off_acting(network)
    matrices = [x for key, x in network.ip_adapter.state_dict().items() if "_ip." in key]
    return {
        "adapter": tensor_bytes([*checkpoint.image_proj.values(), *checkpoint.ip_adapter.values()]) / 1e6,
        "to_k_ip and to_v_ip": tensor_bytes(matrices) / 1e6,
        "kept on the device": kept_bytes(checkpoint.config.channels, tokens) / 1e6,
        "adapter on the device while sampling": tensor_bytes(acting.state_dict() if acting else {}) / 1e6,
    }


def kept_bytes(channels: Sequence[int], tokens: int) -> int:
    """K/V of all layers as a model call needs them."""
    by_width = {width: _arranged_bytes(width, tokens) for width in set(channels)}
    return sum(by_width[width] for width in channels)


def _arranged_bytes(width: int, tokens: int) -> int:
    pair = (torch.zeros(1, tokens, width, dtype=HALF),) * 2
    prompt = ImagePrompt(Stored({0: KeysValues(pair, pair)}, {0: None}), of_layers(LayerWeights((1.0,))))
    rows = Rows((NEGATIVE, POSITIVE), frames=1)
    return tensor_bytes(arrange(prompt, KeysValues(pair, pair), 0, rows, width // 64, 1.0))
