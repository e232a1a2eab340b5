"""Models that no published adapter fits: said by name when the graph runs, before anything is sampled."""

import pytest

from harness.client import PromptError
from harness.wiring import Wiring

MODELS = {
    "SDXL refiner": ("TestModel", {"family": "sdxl refiner", "seed": 1}, "SDXL's refiner"),
    "Stable Video Diffusion": ("TestVideoModel", {"text_width": 1024}, "SD2 or Stable Video Diffusion"),
    "unCLIP of SD2.1": ("TestUnclipModel", {}, "SD2 or Stable Video Diffusion"),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("file, family", [("sd15", "SD1.5"), ("sdxl_vit-h", "SDXL")])
def test_an_adapter_is_refused_with_both_families(server, name, file, family):
    node_id, inputs, title = MODELS[name]
    w = Wiring(server, file=f"ip-adapter_{file}.safetensors")
    w.model = w.graph.add(node_id, **inputs)[0]
    w.graph.save("sampled", w.add("IPAdapterAdvanced")[0])
    with pytest.raises(PromptError) as refused:
        server.run(w.graph)
    assert refused.value.node_type == "IPAdapterAdvanced"
    assert f"was made for {family} " in str(refused.value)
    assert f"No adapter was published for {title}: use a {family} checkpoint." in str(refused.value)
