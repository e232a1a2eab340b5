"""Workflows as ComfyUI's page saved them in 2023 and 2024."""

from typing import Any

# "fixed" is the page's own widget behind a seed.
# What stands on the sockets of the node that is tried: node type, its output, its widget values.
SOURCES: dict[str, tuple[str, int, list[Any]]] = {
    "MODEL": ("TestModel", 0, ["sd15", 1, "fixed", 32, "fp32"]),
    "IPADAPTER": ("IPAdapterModelLoader", 0, ["ip-adapter_sd15.safetensors"]),
    "CLIP_VISION": ("TestClipVision", 0, [3, "fixed", 64, 32, 224]),
    "IMAGE": ("TestImage", 0, [1, "fixed", 256, 256, 1, "smooth", 3]),
    "MASK": ("SolidMask", 0, [1.0, 64, 64]),
    "INSIGHTFACE": ("IPAdapterInsightFaceLoader", 0, ["CPU", "buffalo_l"]),
    "FACEANALYSIS": ("InstantIDFaceAnalysis", 0, ["CPU"]),
    "INSTANTID": ("InstantIDModelLoader", 0, ["ip-adapter.bin"]),
    "CONTROL_NET": ("TestControlNet", 0, ["instantid"]),
    "CONDITIONING": ("TestConditioning", 0, ["sdxl", 10, "fixed", 8]),
    "FACE_EMBEDS": ("InstantIDAttentionPatch", 1, [1, 0, 1, 0]),
    "PULID": ("PulidModelLoader", 0, ["pulid_v1.1.safetensors"]),
    "PULIDFLUX": ("PulidFluxModelLoader", 0, ["pulid_flux_v0.9.1.safetensors"]),
    "EVA_CLIP": ("PulidEvaClipLoader", 0, []),
    "OPTIONS": ("PulidFluxOptions", 0, ["large-small", 0, 1]),
}


def saved(node_type: str, sockets: str, widgets: list[Any], sources: dict[str, Any] = SOURCES) -> dict[str, Any]:
    """A workflow as the page saved it in 2024: sockets in a node's `inputs`, widgets only as a list of values."""
    nodes: list[dict[str, Any]] = []
    links: list[list[Any]] = []
    ports = []
    for slot, socket in enumerate(sockets.split()):
        name, kind = socket.split(":")
        source, output, values = sources[kind]
        links.append([slot + 1, slot + 2, output, 1, slot, kind])
        ports.append({"name": name, "type": kind, "link": slot + 1})
        outputs = [{"name": kind, "type": kind, "links": [slot + 1], "slot_index": output}]
        nodes.append(entry(slot + 2, source, values, [], outputs))
    nodes.append(entry(1, node_type, widgets, ports, []))
    counts = {"last_node_id": len(nodes), "last_link_id": len(links)}
    return counts | {"nodes": nodes, "links": links, "groups": [], "config": {}, "extra": {}, "version": 0.4}


def entry(id: int, kind: str, widgets: list[Any], inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    place = {"pos": [300 * (id % 4), 200 * id], "size": {"0": 280, "1": 200}, "flags": {}, "order": id, "mode": 0}
    ports = {"inputs": inputs, "outputs": outputs, "properties": {"Node name for S&R": kind}}
    return {"id": id, "type": kind, **place, **ports, "widgets_values": widgets}
