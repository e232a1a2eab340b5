"""OpenCLIP's encoders in a running ComfyUI: loaded by the node, and taken by every node that takes an encoder."""

import json

import pytest
import torch

from harness.client import Client
from harness.wiring import Wiring
from openclip.files import save, small_openclip
from test_nodes_pack.standins import tiny_clip_vision

# TestClipVision's sizes; its heads, 32 wide, are in no shape.
TWIN = {
    "embed_dim": 32, "text_cfg": {},
    "vision_cfg": {
        "image_size": 224, "layers": 3, "width": 64, "patch_size": 14, "head_width": 32, "mlp_ratio": 2.0,
    },
}  # fmt: skip
NODES = (
    ("IPAdapterAdvanced", {}), ("IPAdapterTiled", {}), ("IPAdapterClipVisionEnhancer", {"tiles": 2}),
    ("IPAdapterStyleComposition", {}), ("IPAdapterBatch", {}), ("IPAdapterMS", {}),
)  # fmt: skip


@pytest.fixture(scope="module")
def models(server: Client) -> Client:
    """The server with a twin of TestClipVision as a file, and an encoder with its text tower in OpenCLIP's layout."""
    folder = server.output.parent / "models"
    twin = tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224).get_sd()
    save(twin, folder / "clip_vision" / "twin.safetensors")
    (folder / "clip_vision" / "twin.json").write_text(json.dumps({"model_cfg": TWIN}))
    save(small_openclip().state_dict(), folder / "open_clip" / "towers.safetensors")
    save({"weight": torch.zeros(1)}, folder / "open_clip" / "no_encoder.safetensors")
    return server


def loader(w: Wiring, file: str, **more: str):
    return w.add("IPAdapterOpenCLIPLoader", file=file, precision="fp32", **more)


@pytest.mark.parametrize("adapter", ["ip-adapter_sd15.safetensors", "ip-adapter-plus_sd15.safetensors"])
def test_every_node_takes_it_in_place_of_comfyuis_own(models, adapter):
    w = Wiring(models, file=adapter)
    ours = loader(w, "twin.safetensors")[0]
    wired = {node: w.add(node, **more)[0] for node, more in NODES}
    with_ours = {f"{node} ours": w.add(node, clip_vision=ours, **more)[0] for node, more in NODES}
    w.graph.save("encoded", w.add("IPAdapterEncoder", image=w.image(1))[0])
    w.graph.save("encoded ours", w.add("IPAdapterEncoder", image=w.image(1), clip_vision=ours)[0])
    latents = w.latents(1, **wired, **with_ours)
    one, other = w.result.tensor("encoded"), w.result.tensor("encoded ours")
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)  # 32-bit sums in another order
    for node, _ in NODES:
        effect = (latents[node] - latents["bare"]).abs().max()
        # Sampling starts at noise fifteen times larger than what is left, which makes more of those last bits.
        assert 0 < effect and (latents[f"{node} ours"] - latents[node]).abs().max() < 0.01 * effect


def test_the_node_says_what_it_found(models):
    w = Wiring(models)
    node = loader(w, "towers.safetensors")
    w.graph.add("PreviewAny", source=node[1])
    told = models.run(w.graph).outputs[node.id]["text"][0]
    assert told.startswith("a vision transformer of no published size (3 layers, 128 wide) from a file in OpenCLIP's")
    assert told.endswith("with text tower: 32 x 32 pixels, cropped, gelu")


def test_core_nodes_encode_pictures_with_it(models):
    w = Wiring(models)
    seen = w.graph.add(
        "CLIPVisionEncode", clip_vision=loader(w, "towers.safetensors")[0], image=w.image(1), crop="center"
    )
    w.graph.add("PreviewAny", source=seen[0])
    models.run(w.graph)


def test_a_file_that_is_none_is_named(models):
    w = Wiring(models)
    w.graph.add("PreviewAny", source=loader(w, "no_encoder.safetensors")[1])
    with pytest.raises(RuntimeError, match="no_encoder.safetensors: This is no vision encoder in OpenCLIP's"):
        models.run(w.graph)
