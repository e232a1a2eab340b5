"""Training with whole drawings: what they are told, and by whom."""

import copy
from dataclasses import replace

import pytest
import torch

pytest.importorskip("comfy.ldm", reason="needs ComfyUI; set COMFYUI_PATH")

from demo_models.autoencoder import Autoencoder
from demo_models.words import WORDS
from ipadapter.sites import find_sites
from training import adapter, critics, judges, together, unet, whole
from training.data import draw_textures
from training.lessons import Critics, colours_apart, compare, lessons_of, look
from training.loop import Plan

pytestmark = pytest.mark.nightly


@pytest.fixture
def lessons(examples):
    """Styles of two textures, as critics that know nothing see them."""
    hidden = torch.randn(8, 65, 96, generator=torch.Generator().manual_seed(0))
    plus = adapter.Examples(examples.whole, examples.split, hidden, torch.zeros(65, 96))
    told_by = Critics([judges.Classifier(2) for _ in range(2)], [judges.Classifier()])
    own, others = torch.randint(256, (2, 8, 3, 96, 96), dtype=torch.uint8)
    return lessons_of({"standard": examples, "plus": plus}, torch.arange(8) % 2, told_by, own, others)


def test_all_that_draws_learns_from_whole_drawings_and_what_judges_them_does_not(denoiser, lessons):
    models = {name: adapter.new_adapter(name, find_sites(denoiser.unet)) for name in ("standard", "plus")}
    trio, decoder = together.Trio(copy.deepcopy(denoiser), **models), Autoencoder()
    told_by = lessons.critics
    frozen = {
        **decoder.state_dict(),
        **told_by.textures[0].state_dict(),
        **told_by.words[0].state_dict(prefix="words."),
    }
    before = {name: value.clone() for name, value in (trio.state_dict() | frozen).items()}
    plan = Plan(steps=2, batch=8, rate=1e-3, seed=3)  # both adapters learn; keys move in the second step
    assert len(whole.train_whole(trio, lessons, decoder, plan).losses) == 2
    moved = {name for name, value in (trio.state_dict() | frozen).items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"denoiser", "standard", "plus"}


def test_a_drawing_is_told_how_far_it_is_from_its_texture_its_word_and_its_references_colours(lessons):
    """What is as it should be costs less than the same with one part that is another's."""
    right, styles, told_by = lessons.others[:4] / 255, torch.arange(4), lessons.critics
    kinds, words = (critics[0](right).argmax(-1) for critics in (told_by.textures, told_by.words))
    own = lessons_of({}, kinds, Critics(told_by.textures[:1], told_by.words), lessons.others[:4], lessons.others[:4])

    def told(pictures=right, lessons=own, words=words):
        return compare(pictures, lessons, styles, words, torch.Generator().manual_seed(0)).item()

    others = look(told_by.words, lessons.others[4:])
    assert told(words=(words + 1) % len(WORDS)) > told()
    assert told(lessons=replace(own, kinds=1 - kinds)) > told()
    assert told(lessons=replace(own, figures=others)) > told()
    assert told(lessons=replace(own, textures=look(told_by.textures[:1], lessons.others[4:]))) > told()
    assert told(right * 0.5 + 0.25) > told()  # paler


def test_colours_are_as_far_apart_as_they_have_to_move_wherever_they_lie():
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    far = [
        colours_apart(pictures, other, torch.Generator().manual_seed(0)).item()
        for other in (pictures.flip(-1).roll(3, -2), pictures + 0.1, pictures + 0.2)
    ]
    assert far[0] < 1e-6 and far[2] == pytest.approx(2 * far[1], rel=1e-4) and far[1] > 0.05


def test_a_masked_drawing_and_its_whole_twin_differ_in_nothing_but_the_mask(lessons):
    batch = whole.draw_batch(lessons, following=5, masked=2, generator=torch.Generator().manual_seed(0))
    for part in (batch.noise, batch.words, batch.styles, batch.features):
        assert len(part) == 7 and torch.equal(part[:2], part[2:4])
    assert torch.equal(batch.masks[:2], batch.where * batch.masks[2:4])
    assert (batch.masks[2:] >= whole.LEAST).all() and (batch.where[:, :, 6:] == 0).all()
    assert batch.steps[0] == 999 and len(batch.steps) == whole.STEPS and (batch.steps.diff() < 0).all()


def test_a_whole_drawing_follows_the_noise_that_its_steps_predict(denoiser):
    """A UNet that always knows the picture leads any noise to it."""
    noise, picture = unet.Noise(), torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(4))
    drawing = whole.Drawing(denoiser, adapter.new_adapter("plus", find_sites(denoiser.unet)), "cpu")

    def know(latents, numbers, step, references):
        signal, amount = noise.signal[step], noise.noise[step]
        return (signal * latents - picture) / amount

    drawing._predict = know
    steps = whole.draw_steps(torch.Generator().manual_seed(0))
    made = drawing(torch.randn(picture.shape), torch.tensor([0, 1]), steps, [])
    torch.testing.assert_close(made, picture, rtol=1e-4, atol=1e-4)  # six steps of sums in 32 bits


def test_a_critic_learns_from_clear_pictures_first_and_twice_the_same():
    pictures, answers = draw_textures(["stripes", "dots"], 64, seed=1)
    torch.manual_seed(0)
    decoder, plan = Autoencoder(), Plan(steps=6, batch=8, rate=3e-3, seed=1)
    rounds = [critics.Round(plan, unclear=0), critics.Round(replace(plan, seed=2), unclear=0.5)]
    (one, curve), (other, again) = (critics.train_critic(pictures, answers, 2, decoder, rounds) for _ in range(2))
    assert len(curve.losses) == 12 and curve.losses == again.losses
    unclear = critics.blur(pictures[:8] / 255, decoder, torch.Generator().manual_seed(0))
    assert unclear.shape == (8, 3, 96, 96) and not unclear.requires_grad
