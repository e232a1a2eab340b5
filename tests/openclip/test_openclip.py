"""OpenCLIP's encoders from files: against open_clip, transformers and, in test_openclip_vision.py, ComfyUI."""

import json
import sys
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from openclip.files import SMALL, close, pictures, save, siglip, small_openclip, transformers_clip, transformers_layout
from pack.encoders.openclip import build_encoder, read_config, run_tower
from pack.encoders.openclip_layout import to_openclip
from pack.encoders.openclip_shapes import architecture_of, visual_shapes, without_values
from pack.ipadapter.errors import AdapterError


def pixels(size=32):
    return pictures(size=size).movedim(-1, 1) * 4 - 2


def both_layouts(model):
    tensors = model.state_dict()
    return {"OpenCLIP": tensors, "transformers": transformers_layout(tensors)}


@pytest.mark.parametrize("layout", ["OpenCLIP", "transformers"])
@pytest.mark.parametrize("quick", [False, True])
def test_both_towers_give_what_open_clip_gives(layout, quick, tmp_path):
    model = small_openclip(quick_gelu=quick)
    file = save(both_layouts(model)[layout], tmp_path / "model.safetensors")
    encoder = build_encoder(load_file(file), activation="quick_gelu" if quick else "gelu")
    assert encoder.layout == layout and encoder.image_size == 32 and encoder.text is not None
    tokens = open_clip.tokenize(["a cat", "a sofa in a room"])
    with torch.no_grad():
        close(run_tower(encoder.visual, pixels()).pooled, model.encode_image(pixels()))
        close(encoder.text(tokens), model.encode_text(tokens))


def test_the_wrong_activation_shows():
    model = small_openclip(quick_gelu=True)
    with torch.no_grad():
        wrong = run_tower(build_encoder(model.state_dict(), activation="gelu").visual, pixels()).pooled
        right = model.encode_image(pixels())
    assert (wrong - right).abs().max() > 1e-3


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_hidden_states_are_those_of_transformers(activation):
    tensors = small_openclip().state_dict()
    seen = run_tower(build_encoder(tensors, activation=activation).visual, pixels())
    with torch.no_grad():
        expected = transformers_clip(tensors, activation).vision_model(pixels(), output_hidden_states=True)
    close(seen.penultimate, expected.hidden_states[-2])
    close(seen.last, expected.last_hidden_state)


def test_siglip_has_its_pooling_head():
    model, tensors = siglip()
    encoder = build_encoder(tensors)
    assert (encoder.name, encoder.activation, encoder.crop) == ("ViT-B-16-SigLIP", "gelu_tanh", False)
    assert encoder.mean == encoder.std == (0.5, 0.5, 0.5)
    with torch.no_grad():
        seen = run_tower(encoder.visual, pixels(224))
        expected = model(pixels(224), output_hidden_states=True)
    close(seen.pooled, expected.pooler_output)
    close(seen.penultimate, expected.hidden_states[-2])
    close(seen.last, expected.last_hidden_state)


def test_siglip_in_openclips_layout_is_open_clips():
    tensors, _ = to_openclip(siglip()[1])
    with without_values():
        own: Any = open_clip.CustomTextCLIP(**_keywords("ViT-B-16-SigLIP"))
    visual = {name.removeprefix("visual."): tensor for name, tensor in tensors.items()}
    own.visual.load_state_dict(visual, assign=True)
    encoder = build_encoder(tensors)
    assert encoder.activation == "gelu" and encoder.layout == "OpenCLIP"
    with torch.no_grad():
        seen, expected = run_tower(encoder.visual, pixels(224)), own.eval().encode_image(pixels(224))
    close(seen.pooled, expected)


@pytest.mark.parametrize(
    "name",
    [
        "ViT-H-14", "ViT-bigG-14", "ViT-L-14", "ViT-L-14-336", "ViT-B-32", "ViT-B-16", "ViT-g-14", "ViT-S-32-alt",
        "ViT-H-14-CLIPA-336", "ViT-SO400M-14-SigLIP-384", "ViT-SO400M-14-SigLIP2", "RN50", "convnext_base_w",
        "EVA02-L-14", "PE-Core-L-14-336", "MobileCLIP-B",
    ],
)  # fmt: skip
def test_published_architectures_are_told_from_their_shapes(name):
    with without_values():
        model = open_clip.CustomTextCLIP(**_keywords(name))
    tensors = model.state_dict()
    assert architecture_of(open_clip, {key: t for key, t in tensors.items() if not key.startswith("logit")})[0] == name


class Called(TorchFunctionMode):
    """What torch is asked for."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.add(func.__name__)
        return func(*args, **(kwargs or {}))


def test_an_architecture_is_told_without_filling_any_tensor():
    """First values are thrown away, and take timm 20 seconds for a SigLIP."""
    tensors, _ = to_openclip(siglip()[1])
    visual_shapes.cache_clear()
    with Called() as called:
        assert architecture_of(open_clip, tensors)[0] == "ViT-B-16-SigLIP"
    # The functions of torch.nn.init are called; what they call is not.
    assert "kaiming_uniform_" in called.names and not called.names & {"erfinv_", "clamp_", "fill_", "zero_"}
    with Called() as called:
        architecture_of(open_clip, tensors)
    assert "kaiming_uniform_" not in called.names, "the towers are not built again"


def _keywords(name):
    config: Any = open_clip.get_model_config(name)
    text = {key: value for key, value in config["text_cfg"].items() if key != "hf_tokenizer_name"}
    text["layers"] = 1  # of a text tower only its vocabulary, width and longest text are looked at
    return {"embed_dim": config["embed_dim"], "vision_cfg": config["vision_cfg"], "text_cfg": text}


def test_a_description_beside_the_file_decides_what_shapes_cannot(tmp_path):
    model = small_openclip(quick_gelu=True, head_width=32)
    file = save(model.state_dict(), tmp_path / "model.safetensors")
    described = {**SMALL, "quick_gelu": True, "vision_cfg": {**SMALL["vision_cfg"], "head_width": 32}}
    text = {"model_cfg": described, "preprocess_cfg": {"mean": [0.5] * 3, "resize_mode": "squash"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(text))
    encoder = build_encoder(load_file(file), config=read_config(file))
    assert (encoder.activation, encoder.mean, encoder.crop) == ("quick_gelu", (0.5, 0.5, 0.5), False)
    with torch.no_grad():
        close(run_tower(encoder.visual, pixels()).pooled, model.encode_image(pixels()))


def test_building_an_encoder_changes_neither_random_numbers_nor_the_tensors():
    tensors = small_openclip().state_dict()
    before, copies = torch.get_rng_state(), {name: tensor.clone() for name, tensor in tensors.items()}
    build_encoder(tensors)
    assert torch.get_rng_state().equal(before)
    assert all(tensor.equal(copies[name]) for name, tensor in tensors.items())


def test_what_is_wrong_with_a_file_is_said():
    tensors = small_openclip().state_dict()
    with pytest.raises(AdapterError, match="no vision encoder.*found.*'weight'"):
        build_encoder({"weight": torch.zeros(1)})
    with pytest.raises(AdapterError, match="knows no architecture 'ViT-X'"):
        build_encoder(tensors, "ViT-X")
    with pytest.raises(AdapterError, match="is .* instead of"):
        build_encoder(tensors, "ViT-B-32")
    with pytest.raises(AdapterError, match="1 tensors are missing, such as visual.ln_post.bias"):
        build_encoder({name: tensor for name, tensor in tensors.items() if name != "visual.ln_post.bias"})
    with pytest.raises(AdapterError, match="no projection"):
        build_encoder({name: tensor for name, tensor in tensors.items() if name != "visual.proj"})


def test_an_encoder_without_its_text_tower_has_none():
    tensors = {name: t for name, t in small_openclip().state_dict().items() if name.startswith("visual.")}
    encoder = build_encoder(tensors)
    assert encoder.text is None and "without text tower" in str(encoder)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(AdapterError, match="pip install open_clip_torch"):
        build_encoder(small_openclip().state_dict())


@pytest.mark.parametrize("version", ["2.24.0", "3.2.0", "3"])
def test_an_older_package_is_refused_because_its_hidden_states_have_another_order(monkeypatch, version):
    monkeypatch.setattr(open_clip, "__version__", version)
    with pytest.raises(AdapterError, match=f"3.3 or newer, and {version} is installed.*pip install -U open_clip_torch"):
        build_encoder(small_openclip().state_dict())


@pytest.mark.parametrize("version", ["3.3.0", "3.10.0.dev0", "4.0"])
def test_a_newer_package_is_taken(monkeypatch, version):
    monkeypatch.setattr(open_clip, "__version__", version)
    assert build_encoder(small_openclip().state_dict()).name
