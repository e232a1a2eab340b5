"""What IPAdapter Reference Attention refuses, before sampling where it can be known, and what it says."""

from copy import copy
from typing import Any

import comfy.samplers
import pytest
import torch

from harness.in_process import conditioning, sample
from pack.ipadapter.errors import AdapterError, ModelMismatchError
from pack.nodes.reference_attention import IPAdapterReferenceAttention
from pack.weight_schedules.schedule import WeightSchedule
from performance.rig import Rig
from references import edit_models
from test_nodes_pack import neighbours
from test_nodes_pack.standins import seeded
from test_nodes_pack.transformers import TRANSFORMERS, Transformer, model_of
from test_nodes_pack.unets import tiny_model

MODEL = Rig("sd15").bare()
LATENT = {"samples": seeded((1, 4, 8, 8), 11)}
# AuraFlow, whose class has a name of one of SD3.5's; other sizes than published
AURA_FLOW = Transformer("AuraFlow", dict(dim=64, n_layers=2, n_double_layers=1, n_heads=2, global_conddim=64), 2, (4,))
FLUX = TRANSFORMERS["Flux"]
SEEN = {"model": FLUX, "latent": {"samples": FLUX.latent(1)}}
WRONG: dict[str, dict[str, Any]] = {
    r"weight is 1.5: it is a share of the attention": {"weight": 1.5},
    r"negative is -0.5: it is a share": {"negative": -0.5},
    r"start_at \(0.8\) lies after end_at \(0.2\)": {"start_at": 0.8, "end_at": 0.2},
    r"16 channels, and this model works on 4": {"latent": {"samples": seeded((1, 16, 8, 8), 1)}},
    r"not a video": {"latent": {"samples": seeded((1, 4, 3, 8, 8), 1)}},
    r"needs the latent of a picture": {"latent": {"samples": torch.ones(1, 4, 8, 8, dtype=torch.int64)}},
    r"not numbers": {"latent": {"samples": torch.full((1, 4, 8, 8), torch.nan)}},
    r"text is 2048 wide, and this model reads texts 768 wide": {"text": [[torch.zeros(1, 8, 2048), {}]]},
    r"text is an empty conditioning": {"text": []},
    r"text holds values that are not numbers": {"text": [[torch.full((1, 8, 768), torch.nan), {}]]},
    r"precise weight type": {"schedule": WeightSchedule("style transfer precise")},
    r"weight and schedule is 2": {"schedule": WeightSchedule("3:2")},
    r"In this model \(MMDiT\) nothing tells a patch": {"model": AURA_FLOW},
    r"text is 64 wide, and this model reads texts 24 wide": {"text": [[torch.zeros(1, 8, 64), {}]], **SEEN},
    r"weight is 1.2: it is a share": {"weight": 1.2, **SEEN},
    r"layers cannot be 'early'": {"layers": "early"},
}


def apply(**inputs: Any) -> Any:
    given = {"model": MODEL, "latent": LATENT, "weight": 1.0, "layers": "late", "start_at": 0.0, "end_at": 1.0}
    return IPAdapterReferenceAttention.execute(**(given | inputs)).args[0]


def test_wrong_inputs_are_refused_with_what_was_expected():
    said = {}
    for words, inputs in WRONG.items():
        model = {"model": model_of(inputs["model"])} if "model" in inputs else {}
        with pytest.raises(AdapterError, match=words) as caught:
            apply(**(inputs | model))
        said[words] = str(caught.value)
    assert len(set(said.values())) == len(WRONG)


def test_a_text_for_kolors_is_as_wide_as_its_projection_takes_it():
    """Kolors nodes give the UNet a projection of the text, from the width of the text encoder to that of its layers."""
    model = tiny_model("kolors", 1)
    unet = model.model.diffusion_model
    plain = unet.forward
    unet.forward = lambda *args, context, **more: plain(*args, context=unet.encoder_hid_proj(context), **more)
    texts = [[[seeded((1, 8, 4096), seed), {"pooled_output": seeded((1, 1280), seed)}]] for seed in (10, 20)]

    def drawn(text: Any) -> torch.Tensor:
        guider = comfy.samplers.CFGGuider(apply(model=model, text=text))
        guider.set_conds(*texts)
        guider.set_cfg(2.0)
        return sample(model, guider=guider)

    assert drawn(texts[1]).equal(drawn(None)) and not drawn(texts[0]).equal(drawn(None))
    with pytest.raises(AdapterError, match="text is 2048 wide, and this model reads texts 4096 wide"):
        apply(model=model, text=[[torch.zeros(1, 8, 2048), {}]])


def test_unets_of_videos_and_layers_that_a_model_lacks_are_refused():
    video = neighbours.TestVideoModel.execute(768).args[0]
    with pytest.raises(ModelMismatchError, match=r"This model \(UNetModel\) makes videos"):
        apply(model=video)
    no_way_out = MODEL.clone()
    unet = copy(MODEL.model.diffusion_model)
    unet._modules = {**unet._modules, "output_blocks": torch.nn.ModuleList()}
    no_way_out.add_object_patch("diffusion_model", unet)
    with pytest.raises(ModelMismatchError, match="This UNetModel has no late layers. Choose layers: all"):
        apply(model=no_way_out)


def test_notes_are_shown_once_in_a_run(caplog):
    guider = comfy.samplers.CFGGuider(apply(negative=0.5, latent={"samples": seeded((1, 4, 8, 64), 1)}))
    guider.set_conds(conditioning(10), conditioning(20))
    guider.set_cfg(1.0)
    sample(MODEL, guider=guider, steps=2)
    assert caplog.text.count("at CFG 1 the model is not run on the negative prompt") == 1
    assert caplog.text.count("64 x 8 latent pixels is more than 4 times as large as the picture of 8 x 8") == 1


def test_transformers_are_said_to_be_an_experiment_once_in_a_run(caplog):
    model = apply(model=model_of(FLUX), latent=SEEN["latent"])
    edit_models.sample(model, FLUX, (), steps=2)
    assert caplog.text.count("is an experiment with Flux") == 1


def test_models_of_animatediff_evolved_are_refused():
    model = apply()
    model.model_options["transformer_options"]["ad_params"] = {"sub_idxs": None}
    with pytest.raises(AdapterError, match="AnimateDiff-Evolved"):
        sample(model)
