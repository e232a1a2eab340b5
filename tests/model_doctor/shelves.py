"""Model folders with small files whose headers are like those of the published ones."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

import published_headers as headers
import synthetic
import synthetic_transformers

SMALL: dict[str, Any] = {"dim": 64, "heads": 1, "depth": 1, "face_hidden": 16, "rank": 4}
VIT_H, VIT_G, VIT_L = (1024, 1280, 257), (1280, 1664, 257), (768, 1024, 257)


def write_adapter(path: Path, like: str = "", **changes: Any) -> Path:
    """The published adapter of that name, or like it: one number for every width that tells nothing."""
    variant, published = synthetic.ZOO[like or path.name]
    sizes: dict[str, Any] = {"dtype": synthetic.published_dtype(like or path.name)} | SMALL | published | changes
    wide = sizes.get("context") == 2048
    channels = synthetic.sdxl_channels(32, (1, 2)) if wide else synthetic.sd15_channels(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    return synthetic.save(synthetic.adapter(variant, channels=channels, **sizes), path)


def write_encoder(path: Path, sizes: tuple[int, int, int]) -> Path:
    return headers.save(headers.vision(*sizes), path)


def encoder_bytes(sizes: tuple[int, int, int]) -> bytes:
    """A whole file of two megabytes, for a hub: of the encoder only the tensors that tell its sizes."""
    telling = ("visual_projection", "position_embedding", "class_embedding")
    header = {key: tensor for key, tensor in headers.vision(*sizes).items() if any(part in key for part in telling)}
    return save({key: torch.zeros(tensor.shape, dtype=torch.float16) for key, tensor in header.items()})


def flux_adapter_bytes() -> bytes:
    """XLabs' adapter for Flux as published, for a model of two blocks."""
    return save(synthetic_transformers.adapter("XLabs Flux", embed=768))


def write_network(path: Path, role: str) -> Path:
    """A network with the inputs and outputs by which insightface tells a role, and without weights."""
    from onnx import TensorProto, helper, save

    sides = {"detection": None, "recognition": 112, "landmarks": 192, "swapper": 128}
    outputs = 9 if role == "detection" else 1
    shape = [1, 3, sides[role], sides[role]]
    inputs = [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)]
    if role == "swapper":
        inputs.append(helper.make_tensor_value_info("source", TensorProto.FLOAT, [1, 512]))
    ends = [helper.make_tensor_value_info(f"out{number}", TensorProto.FLOAT, None) for number in range(outputs)]
    nodes = [helper.make_node("Identity", ["input.1"], [end.name]) for end in ends]
    path.parent.mkdir(parents=True, exist_ok=True)
    save(helper.make_model(helper.make_graph(nodes, "graph", inputs, ends)), path)
    return path


def write_face_pack(folder: Path) -> Path:
    """A folder with the networks that make a pack complete, under buffalo_l's names."""
    for name, role in {"det_10g": "detection", "w600k_r50": "recognition", "2d106det": "landmarks"}.items():
        write_network(folder / f"{name}.onnx", role)
    return folder


def verdict_of(report: Any, preset: str, family: str = "sd15") -> Any:
    """What a report of the doctor says of a preset for a family."""
    return next(one for one in report.verdicts if (one.preset, one.family) == (preset, family))
