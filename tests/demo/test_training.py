"""Training: seeded, with the rest frozen, in the published file layout."""

import copy
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("comfy.ldm", reason="needs ComfyUI; set COMFYUI_PATH")

from demo.test_published import FILES, FOLDER, tensors_of
from harness.host import ROOT
from ipadapter.sites import find_sites
from training import adapter, autoencoder, checkpoints, loop, together, unet
from training.data import draw_data
from training.loop import Plan, rate_at

pytestmark = pytest.mark.nightly


def test_one_command_trains_everything_to_files_like_the_published_ones(tmp_path):
    command = [sys.executable, "-m", "training", "--scale", "0.0005", "--output", str(tmp_path), "--threads", "1"]
    command += ["--checkpoints", str(tmp_path / "checkpoints")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in FILES:
        made, wanted = tensors_of(tmp_path / name)[0], tensors_of(FOLDER / name)[0]
        assert {key: value.shape for key, value in made.items()} == {key: value.shape for key, value in wanted.items()}
    assert not list((tmp_path / "checkpoints").iterdir()), "finished stages leave none"
    assert (tmp_path / "training.png").stat().st_size > 10_000
    written = {file.name: file.read_bytes() for file in (tmp_path / "references").iterdir()}
    assert written == {file.name: file.read_bytes() for file in (FOLDER / "references").iterdir()}


def test_training_twice_gives_the_same_weights_and_learns():
    pictures = draw_data(32).pictures
    plan = Plan(steps=50, batch=4, rate=3e-3, seed=5)
    (one, curve), (other, again) = (autoencoder.train_autoencoder(pictures, plan) for _ in range(2))
    assert curve.losses == again.losses
    assert sum(curve.losses[-10:]) < 0.9 * sum(curve.losses[:10])
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    different = autoencoder.train_autoencoder(pictures, replace(plan, steps=1, seed=6))[1]
    assert different.losses[0] != curve.losses[0]


class StoppedError(Exception):
    pass


def losses_of(module, stop=None):
    """A loss per step, of a batch from the generator; with `stop`, the machine goes down in that step."""
    seen = []

    def loss(generator):
        if len(seen) == stop:
            raise StoppedError
        seen.append(torch.rand(4, 3, generator=generator))
        return module(seen[-1]).square().mean()

    return loss


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(tmp_path, monkeypatch, average):
    monkeypatch.setattr(loop, "EVERY", 5)
    plan, file = Plan(steps=12, batch=4, rate=1e-2, seed=5, average=average), tmp_path / "stage.pt"
    once, halted, resumed = (torch.nn.Linear(3, 2) for _ in range(3))
    halted.load_state_dict(once.state_dict())
    curve = loop.train("once", once, plan, losses_of(once))
    with pytest.raises(StoppedError):
        loop.train("halted", halted, plan, losses_of(halted, stop=8), file)
    second = losses_of(resumed, stop=7)  # from step 5 on
    assert loop.train("resumed", resumed, plan, second, file).losses == pytest.approx(curve.losses, rel=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), resumed.parameters(), strict=True))
    assert torch.equal(checkpoints.weights_of(file)["weight"], once.weight)
    with pytest.raises(checkpoints.CheckpointError, match="Delete the file"):
        loop.train("other", resumed, replace(plan, steps=13), second, file)


def test_all_that_draws_learns_on_together(denoiser, examples):
    models = {name: adapter.new_adapter(name, find_sites(denoiser.unet)) for name in ("standard", "plus")}
    trio = together.Trio(copy.deepcopy(denoiser), **models)
    hidden = torch.randn(8, 65, 96, generator=torch.Generator().manual_seed(0))
    plus = adapter.Examples(examples.whole, examples.split, hidden, torch.zeros(65, 96))
    before = {name: value.clone() for name, value in trio.state_dict().items()}
    rounds = [together.Round(Plan(steps=3, batch=8, rate=1e-2, seed=seed), noisy=seed == 1) for seed in (1, 2)]
    curve = together.train_together(trio, {"standard": examples, "plus": plus}, rounds)
    assert len(curve.losses) == 6
    moved = {name.split(".")[0] for name, value in trio.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"denoiser", "standard", "plus"}


def test_latents_have_mean_zero_and_deviation_one_and_decode_as_before():
    pictures = draw_data(32).pictures
    model, _ = autoencoder.train_autoencoder(pictures, Plan(steps=2, batch=8, rate=2e-3, seed=5))
    latents = model.encode(autoencoder.as_floats(pictures))
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(8), atol=1e-4)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(8), atol=1e-4)


def test_an_adapter_begins_by_changing_nothing_and_only_it_is_trained(denoiser, examples):
    attentions = find_sites(denoiser.unet)
    fresh = adapter.new_adapter("standard", attentions)
    shown = adapter.Shown(fresh, attentions)
    generator = torch.Generator().manual_seed(1)
    latents, words, references = examples.draw(4, 0.5, generator)
    shown.references = [adapter.Reference(fresh.project(one.shown), one.masks) for one in references]
    tokens = denoiser.words(unet.word_numbers(words, torch.zeros(4, dtype=torch.bool)))
    steps = torch.full((4,), 500.0)
    plain = denoiser.unet(latents, steps, tokens)
    # Two ways to the same attention differ in the last bits.
    with_adapter = denoiser.unet(latents, steps, tokens, transformer_options=shown.options.copy())
    assert torch.allclose(plain, with_adapter, atol=1e-5)

    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    rounds = [adapter.Round(Plan(steps=3, batch=4, rate=1e-2, seed=seed), split=0.5) for seed in (1, 2)]
    trained, curve = adapter.train_adapter("standard", denoiser, examples, rounds)
    assert len(curve.losses) == 6
    assert all(torch.equal(value, before[name]) for name, value in denoiser.state_dict().items())
    values = [value for name, value in trained.state_dict().items() if name.endswith("to_v_ip.weight")]
    assert len(values) == 16 and all(value.abs().max() > 0 for value in values)


def test_examples_show_each_half_its_own_reference(examples):
    latents, words, (first, second) = examples.draw(20, 0.35, torch.Generator().manual_seed(3))
    whole, halves = 13, 7
    assert len(latents) == len(words) == len(first.shown) == len(first.masks) == 20
    assert len(second.shown) == len(second.masks) == halves
    assert torch.equal(first.masks[:whole], torch.ones(whole, 12, 12))
    left = examples.split["where"][0]
    for own, other in zip(first.masks[whole:], second.masks, strict=True):
        assert torch.equal(own, left)
        assert torch.equal(other, 1 - left) or not other.any()
    assert not torch.equal(first.shown[whole:], second.shown)


def test_the_noise_ends_where_nothing_is_left_and_v_gives_the_picture_back():
    noise = unet.Noise()
    assert noise.signal[-1] < 0.01 and noise.signal[0] > 0.99
    latents = torch.randn(4, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    noised, v, steps = noise.add(latents, torch.Generator().manual_seed(1))
    signal, amount = noise.signal[steps][:, None, None, None], noise.noise[steps][:, None, None, None]
    assert torch.allclose(signal * noised - amount * v, latents, atol=1e-5)


def test_the_rate_warms_up_and_goes_to_zero():
    plan = Plan(steps=1000, batch=1, rate=1.0, seed=0)
    assert rate_at(0, plan) == pytest.approx(0.01) and rate_at(999, plan) < 1e-4
    assert max(rate_at(step, plan) for step in range(1000)) == pytest.approx(rate_at(99, plan))
