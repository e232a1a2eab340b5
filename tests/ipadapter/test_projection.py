import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import synthetic
from pack.ipadapter.adapter import AdapterNetwork
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.config import AdapterConfig
from pack.ipadapter.errors import AdapterError, EncoderMismatchError, ModelMismatchError
from pack.ipadapter.projection_sizes import read_projection

REFERENCE = Path(__file__).parents[1] / "reference"
CASES = {case["name"]: case for case in json.loads((REFERENCE / "projections.json").read_text())}
TINY: dict[str, Any] = dict(
    context=32, channels=[16, 32, 32], pooled=24, hidden=40, dim=32, face_hidden=20, depth=2, rank=4
)


@pytest.fixture(scope="module")
def vectors():
    return load_file(REFERENCE / "projections.safetensors")


def reference_adapter(vectors, name):
    """The network of one case, without cross-attentions."""
    prefix = f"{name}.image_proj."
    group = {key.removeprefix(prefix): tensor for key, tensor in vectors.items() if key.startswith(prefix)}
    projection = read_projection(group)
    config = AdapterConfig("", "", projection, projection.token_dim, (), (), has_lora=False, shortcut=False)
    adapter = AdapterNetwork(config)
    adapter.image_proj.load_state_dict(group)
    return adapter


@pytest.mark.parametrize("name", CASES)
def test_projection_equals_the_reference(vectors, name):
    adapter, case = reference_adapter(vectors, name), CASES[name]
    inputs = {key: vectors[f"{name}.input.{key}"] for key in case["inputs"]}
    face, embeds = inputs.pop("face_embeds", None), next(iter(inputs.values()), None)
    if name == "portrait_unnorm":  # the vectors' faces are 48 wide; only 512 tells a face from hidden states
        face, embeds = None, face
    with torch.no_grad():
        out = adapter.project(embeds, face, face_weight=case.get("strength", 1.0), shortcut=case.get("shortcut"))
    torch.testing.assert_close(out, vectors[f"{name}.out"], rtol=0, atol=1e-5)  # another order of sums


def tiny(variant, **sizes):
    return AdapterNetwork.from_checkpoint(read_checkpoint(synthetic.adapter(variant, **TINY | sizes), f"{variant}.bin"))


def embeds_for(adapter, n=2, seed=1) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    config = adapter.config
    shape = {"pooled": (n, config.embed_dim), "hidden": (n, 17, config.embed_dim), None: None}[config.takes]
    embeds = torch.randn(shape, generator=generator) if shape else None
    return embeds, torch.randn(n, 512, generator=generator) if config.needs_face else None


@pytest.mark.parametrize("variant", synthetic.PROJECTIONS)
def test_every_variant_gives_tokens_of_its_config(variant):
    adapter = tiny(variant)
    config = adapter.config
    assert adapter.project(*embeds_for(adapter)).shape == (2, config.tokens or 17, config.token_dim)


@pytest.mark.parametrize("variant", synthetic.PROJECTIONS)
def test_state_dict_of_the_network_is_the_published_file(variant):
    checkpoint = read_checkpoint(synthetic.adapter(variant, **TINY), "a.bin")
    weights = AdapterNetwork.from_checkpoint(checkpoint).state_dict()
    published = synthetic.flat({"image_proj": dict(checkpoint.image_proj), "ip_adapter": dict(checkpoint.ip_adapter)})
    assert weights.keys() == published.keys()
    assert all(torch.equal(weights[key], published[key]) for key in published)


def test_network_shares_the_tensors_of_its_checkpoint():
    checkpoint = read_checkpoint(synthetic.adapter("standard", **TINY), "a.bin")
    adapter = AdapterNetwork.from_checkpoint(checkpoint)
    weight = adapter.state_dict()["image_proj.proj.weight"]
    assert weight.data_ptr() == checkpoint.image_proj["proj.weight"].data_ptr()


@pytest.mark.parametrize("variant", ["standard", "plus", "full face"])
def test_a_batch_is_projected_image_by_image(variant):
    adapter = tiny(variant)
    embeds, _ = embeds_for(adapter)
    one_by_one = torch.cat([adapter.project(row[None]) for row in embeds])
    torch.testing.assert_close(adapter.project(embeds), one_by_one)  # another batch size, another order of sums


def test_keys_and_values_are_those_of_the_layer_asked_for():
    nested = synthetic.adapter("standard", **TINY)
    adapter, tokens = tiny("standard"), torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(0))
    keys, values = adapter.keys_values(tokens, 3)
    torch.testing.assert_close(keys, tokens @ nested["ip_adapter"]["3.to_k_ip.weight"].T)
    torch.testing.assert_close(values, tokens @ nested["ip_adapter"]["3.to_v_ip.weight"].T)
    assert keys.shape == (2, 4, 32)


def test_v2_adds_strength_times_the_refinement_to_the_face_tokens():
    adapter = tiny("FaceID Plus V2")
    embeds, face = embeds_for(adapter)
    refined = adapter.project(embeds, face, shortcut=False)
    none, double = (adapter.project(embeds, face, face_weight=s) for s in (0.0, 2.0))
    assert adapter.config.shortcut
    torch.testing.assert_close(double, none + 2 * refined)


def test_v1_ignores_strength():
    adapter = tiny("FaceID Plus")
    embeds, face = embeds_for(adapter)
    assert torch.equal(adapter.project(embeds, face), adapter.project(embeds, face, face_weight=3.0))


def test_one_face_serves_several_pictures_and_one_picture_several_faces():
    adapter = tiny("FaceID Plus V2")
    embeds, face = embeds_for(adapter)
    for pair in ((embeds, face[:1]), (embeds[:1], face), (embeds, face[:, None])):
        assert adapter.project(*pair).shape == (2, 4, 32)


def test_several_faces_of_one_picture_give_their_tokens_in_a_row():
    adapter = tiny("FaceID portrait")
    face = torch.randn(1, 3, 512, generator=torch.Generator().manual_seed(0))
    tokens = adapter.project(face=face)
    assert tokens.shape == (1, 48, 32)
    torch.testing.assert_close(tokens[:, 16:32], adapter.project(face=face[:, 1]))


def test_half_precision_weights_work_with_half_precision_embeds():
    adapter = tiny("plus").to(torch.bfloat16)
    tokens = adapter.project(torch.ones(1, 17, 40, dtype=torch.bfloat16))
    assert tokens.dtype == torch.bfloat16 and tokens.isfinite().all()


def test_wrong_encoder_is_named_with_the_one_that_fits():
    adapter = tiny("standard", context=64, pooled=1280)
    with pytest.raises(EncoderMismatchError, match=r"1280 wide.*got \(1, 1024\).*bigG"):
        adapter.project(torch.zeros(1, 1024))


def test_pooled_embeds_for_a_plus_adapter_are_refused():
    with pytest.raises(EncoderMismatchError, match="hidden embeds 40 wide"):
        tiny("plus").project(torch.zeros(1, 40))


@pytest.mark.parametrize(
    ("variant", "inputs", "message"),
    [
        ("standard", {}, "connect a vision encoder"),
        ("FaceID", {}, "needs a face vector 512 wide"),
        ("FaceID", {"face": torch.zeros(1, 256)}, r"got \(1, 256\)"),
        ("FaceID Plus", {"embeds": torch.zeros(2, 5, 40), "face": torch.zeros(3, 512)}, "one face per picture"),
    ],
)
def test_missing_or_wrong_inputs_are_named(variant, inputs, message):
    with pytest.raises(AdapterError, match=message):
        tiny(variant).project(**inputs)


def test_kolors_face_tokens_need_the_text_projection_of_the_model():
    adapter = tiny("Kolors FaceID Plus")
    with pytest.raises(ModelMismatchError, match="text projection"):
        adapter.keys_values(adapter.project(*embeds_for(adapter)), 1)


def test_a_layer_the_adapter_has_not_is_an_error():
    with pytest.raises(ModelMismatchError, match="number 7.*ends at 5"):
        tiny("standard").keys_values(torch.zeros(1, 4, 32), 7)
