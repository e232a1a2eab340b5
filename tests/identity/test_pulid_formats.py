"""PuLID's files are told by their tensors, and their encoders give what the published formulas give."""

import pytest
import torch

from identity import pulid_formulas as formulas
from identity.pulid_files import ID, NAMES, STATE, pulid
from pack.ipadapter.adapter import AdapterNetwork
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.errors import AdapterError, CheckpointError, EncoderMismatchError
from pack.ipadapter.pulid_tokens import COMBINE, identify, person_tokens
from test_nodes_pack.standins import seeded

GROUPS = {
    "pulid_v1.bin": "id_adapter.",
    "pulid_v1.1.safetensors": "id_adapter.",
    "pulid_flux_v0.9.1.safetensors": "pulid_encoder.",
}
FORMULAS = {"PuLID": formulas.id_encoder, "PuLID v1.1": formulas.id_former, "PuLID Flux": formulas.id_former}
SMALL = {"channels": [16, 16], "context": 64}


def person(pictures=1, seed=1):
    return seeded((pictures, ID), seed), [seeded((pictures, 10, STATE), seed + 1 + i) for i in range(5)]


def opened(name):
    state = pulid(name, **SMALL) if "flux" not in name else pulid(name)
    return state, AdapterNetwork.from_checkpoint(read_checkpoint(state, name))


@pytest.mark.parametrize("name", NAMES)
def test_the_published_sizes_are_read(name):
    variant, family, tokens, millions = NAMES[name]
    config = read_checkpoint(pulid(name, device="meta", published=True), name).config
    assert (config.variant, config.family, config.tokens) == (variant, family, tokens)
    assert config.is_pulid and config.face_dim == 1280 and config.projection.state_dim == 1024
    network = AdapterNetwork(config, device="meta")
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    if family == "flux":
        assert (config.key_numbers, config.model_width, config.context_dim) == (tuple(range(20)), 3072, 2048)


@pytest.mark.parametrize("name", GROUPS)
def test_the_encoders_give_what_the_formulas_give(name):
    state, network = opened(name)
    formula, w = FORMULAS[NAMES[name][0]], formulas.under(GROUPS[name], state)
    ids, states = person(2)
    torch.testing.assert_close(identify(network, ids, states), formula(w, ids, states), rtol=1e-4, atol=1e-4)
    positive, negative = person_tokens(network, ids, states, "mean", zeros=3)
    torch.testing.assert_close(positive[:, :-3], formula(w, ids, states).mean(0, True), rtol=1e-4, atol=1e-4)
    none = formula(w, 0 * ids[:1], [0 * state[:1] for state in states])
    torch.testing.assert_close(negative[:, :-3], none, rtol=1e-4, atol=1e-4)
    assert not positive[:, -3:].any() and not negative[:, -3:].any()
    assert (none - formula(w, ids[:1], [state[:1] for state in states])).abs().max() > 0.1


def test_several_pictures_side_by_side_are_what_the_authors_make_of_them():
    ids, states = person(3)
    state, network = opened("pulid_v1.bin")
    w = formulas.under("id_adapter.", state)
    first, second, third = formulas.id_encoder(w, ids, states)
    expected = torch.cat((first, second[:5], third[:5])).unsqueeze(0)
    torch.testing.assert_close(person_tokens(network, ids, states, "concat")[0], expected, rtol=1e-4, atol=1e-4)
    state, network = opened("pulid_v1.1.safetensors")
    w = formulas.under("id_adapter.", state)
    expected = formulas.id_former(w, ids.unsqueeze(0), [state.reshape(1, -1, STATE) for state in states])
    torch.testing.assert_close(person_tokens(network, ids, states, "concat")[0], expected, rtol=1e-4, atol=1e-4)


def test_a_picture_twice_is_the_picture_once_however_pictures_are_combined():
    _, network = opened("pulid_v1.bin")
    ids, states = person(1)
    once = person_tokens(network, ids, states, "mean")[0]
    for name in COMBINE:
        twice = person_tokens(network, ids.repeat(2, 1), [state.repeat(2, 1, 1) for state in states], name)[0]
        torch.testing.assert_close(twice[:, :10], once, rtol=1e-5, atol=1e-5, msg=name)


def test_noise_takes_the_position_of_all_zeros_and_is_the_same_in_every_run():
    _, network = opened("pulid_v1.bin")
    before = torch.get_rng_state()
    noised, again = (person_tokens(network, *person(), "mean", noise=0.4, zeros=2) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, noised, again))
    plain = person_tokens(network, *person(), "mean", zeros=2)
    assert torch.equal(noised[0][:, :-2], plain[0][:, :-2]) and not torch.equal(noised[1], plain[1])
    assert 0 < noised[0][:, -2:].min() and noised[0][:, -2:].max() <= 0.4


def test_what_is_no_whole_pulid_is_refused_by_name():
    whole = pulid("pulid_flux_v0.9.1.safetensors")
    no_queries = {name: t for name, t in whole.items() if not name.endswith("ca.1.to_q.weight")}
    with pytest.raises(CheckpointError, match=r"bad.safetensors.*1\.to_q"):
        read_checkpoint(no_queries, "bad.safetensors")
    v11 = pulid("pulid_v1.1.safetensors", **SMALL)
    alone = {name: t for name, t in v11.items() if not name.startswith("id_adapter_attn")}
    with pytest.raises(CheckpointError, match="no ip_adapter"):
        read_checkpoint(alone, "bad.safetensors")
    _, network = opened("pulid_v1.bin")
    with pytest.raises(AdapterError, match="Apply PuLID"):
        network.project(face=seeded((1, ID), 1))
    with pytest.raises(EncoderMismatchError, match="antelopev2"):
        identify(network, seeded((1, ID - 1), 1), person()[1])
