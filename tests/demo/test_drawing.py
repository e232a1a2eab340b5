"""The program that draws what the demo models learn from, and the judges of what they draw."""

import numpy as np
import pytest
import torch

from demo.studio import held_out
from demo_models.words import WORDS
from training.contents import CONTENTS
from training.data import MANY_SEED, MANY_STYLES, draw_data, draw_many, draw_split
from training.judges import palette_distance
from training.more_textures import MORE_TEXTURES
from training.palettes import FIGURE_APART, draw_palettes, to_oklab, to_srgb
from training.pictures import EVERY_TEXTURE, FINER, draw_figure, draw_texture
from training.textures import HELD_OUT, TEXTURES

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def drawn():
    return draw_data(48)


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others(drawn):
    again, other = draw_data(48), draw_data(48, seed=1)
    assert torch.equal(again.pictures, drawn.pictures) and torch.equal(again.others, drawn.others)
    assert not torch.equal(other.pictures, drawn.pictures)


def test_both_pictures_of_a_style_hold_its_colours_and_not_the_same_drawing(drawn):
    for i, palette in enumerate(drawn.styles.palettes):
        if drawn.styles.textures[i] == "gradient":  # which never reaches its accent
            continue
        for pictures in (drawn.pictures, drawn.others):
            assert palette_distance(pictures[i] / 255, palette[None]) < 0.08  # smoothed edges are between colours
    assert not torch.equal(drawn.pictures, drawn.others)


def test_no_held_out_palette_or_texture_is_in_the_training_set(drawn):
    unseen = held_out()
    assert set(drawn.styles.textures) <= set(TEXTURES) and not set(TEXTURES) & set(HELD_OUT)
    assert set(unseen.styles.textures) & set(HELD_OUT) == set(HELD_OUT)
    for seed, count in ((20261122, 16384), (MANY_SEED, MANY_STYLES)):
        training = draw_palettes(count, np.random.default_rng(seed)).flatten(1)
        assert torch.cdist(unseen.styles.palettes.flatten(1), training).min() > 0.005


def test_styles_of_many_textures_have_the_same_one_in_all_their_pictures_and_none_that_is_held_out():
    many, rng = draw_many(80), np.random.default_rng(0)
    assert not set(EVERY_TEXTURE) - set(TEXTURES) - set(MORE_TEXTURES) - set(HELD_OUT)
    assert set(many.styles.textures) & set(MORE_TEXTURES) and not set(many.styles.textures) & set(HELD_OUT)
    for i in range(4):
        first, again = (draw_texture(many.styles, i, rng) for _ in range(2))
        assert np.array_equal(first, again) and first.shape == (96 * FINER, 96 * FINER)
    # Figures hide most of the ground in the middle, so the textures are compared along the edge.
    same = [(many.pictures[i, :, 0] == many.others[i, :, 0]).float().mean() for i in range(80)]
    assert torch.stack(same).mean() > 0.9


def test_the_colours_of_a_palette_are_told_apart():
    ground, figure, accent = to_oklab(draw_palettes(500, np.random.default_rng(1))).unbind(1)
    assert (figure - ground).norm(dim=-1).min() > FIGURE_APART - 1e-3  # to sRGB and back
    assert (figure - accent).norm(dim=-1).min() > FIGURE_APART - 1e-3


def test_oklab_is_what_its_author_publishes():
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    # https://bottosson.github.io/posts/oklab, to three digits
    wanted = torch.tensor([[1.0, 0.0, 0.0], [0.628, 0.225, 0.126], [0.452, -0.032, -0.312]])
    assert torch.allclose(to_oklab(colours), wanted, atol=1e-3)
    assert torch.allclose(to_srgb(to_oklab(colours)), colours, atol=1e-3)


def test_each_word_that_the_models_know_is_drawn():
    assert list(CONTENTS) == list(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_draws_a_figure_that_no_other_word_draws(word):
    figures = {other: draw_figure(other, np.random.default_rng(3))[0] for other in CONTENTS}
    assert 0.05 < figures[word].mean() < 0.6
    for other in set(WORDS) - {word}:
        assert np.abs(figures[word] - figures[other]).mean() > 0.02


@pytest.mark.parametrize("name", EVERY_TEXTURE)
def test_a_texture_shows_both_colours_and_is_never_twice_the_same(name):
    one, other = (EVERY_TEXTURE[name](192, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.min() == 0 and one.max() == 1 and 0.1 < one.mean() < 0.7
    assert not np.array_equal(one, other)


def test_halves_have_the_palettes_of_their_styles(drawn):
    halves = draw_split(drawn, 12)
    for picture, pair, where in zip(halves.pictures, halves.pairs, halves.where, strict=True):
        for style, part in zip(pair.tolist(), (where, ~where), strict=True):
            pixels = picture[:, part].T / 255
            apart = torch.cdist(to_oklab(pixels), to_oklab(drawn.styles.palettes[style]))
            blended = drawn.styles.textures[style] == "gradient"
            assert apart.amin(-1).mean() < (0.1 if blended else 0.03)


def test_a_palette_is_nearest_to_its_own_picture_even_beside_one_of_every_colour(drawn):
    everything = torch.rand(1, 64, 3, generator=torch.Generator().manual_seed(0))
    for picture, palette in zip(drawn.pictures / 255, drawn.styles.palettes, strict=True):
        own = palette_distance(picture, palette[None])
        assert own < palette_distance(picture, everything)
        others = drawn.styles.palettes[(drawn.styles.palettes != palette).flatten(1).any(1)]
        assert own < palette_distance(picture, others).min()
