"""Regions: whole, hard or soft, in reading order, by shares or by colours."""

import pytest
import torch

from pack.masks.regions import (
    SPLITS,
    draw_regions,
    find_colours,
    parse_colours,
    parse_shares,
    soften,
    split_by_colour,
    split_canvas,
)

RED, GREEN, BLUE, WHITE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0)


def drawing(*columns):
    """A drawing with one column of ten pixels for every colour."""
    return torch.tensor(columns).repeat_interleave(10, 0).expand(20, -1, -1).clone()


@pytest.mark.parametrize("size", [(64, 96), (7, 9), (1024, 768)])
@pytest.mark.parametrize("split", SPLITS)
def test_every_pixel_belongs_to_exactly_one_region(split, size):
    regions = split_canvas(*SPLITS[split](2, 3), *size)
    count = {"columns": 3, "rows": 2, "grid": 6, "thirds across": 3, "thirds down": 3}[split]
    assert regions.shape == (count, *size)
    assert torch.equal(regions.sum(0), torch.ones(size))
    assert set(regions.unique().tolist()) == {0.0, 1.0} and (regions.sum((1, 2)) > 0).all()


def test_shares_give_the_widths_and_a_grid_reads_like_a_page():
    regions = split_canvas([1.0], parse_shares("2, 1, 1"), 8, 64)
    assert regions[:, 0].sum(1).tolist() == [32, 16, 16]
    first, second, third, _ = split_canvas([1, 1], [1, 1], 8, 8)
    assert first[0, 0] == 1 and second[0, 7] == 1 and third[7, 0] == 1


def test_regions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="5 regions do not fit into 4 pixels"):
        split_canvas([1] * 5, [1], 4, 64)
    for text in ("1, 0", "-1", "two", "1, inf"):
        with pytest.raises(ValueError, match="is not a list of shares"):
            parse_shares(text)


def test_colours_of_a_drawing_become_regions_from_left_to_right():
    regions = split_by_colour(drawing(BLUE, WHITE, RED), 40, 60, background=[WHITE])
    assert regions.shape == (2, 40, 60)
    assert torch.equal(regions[0], torch.cat([torch.ones(40, 20), torch.zeros(40, 40)], 1))
    assert torch.equal(regions[1], torch.cat([torch.zeros(40, 40), torch.ones(40, 20)], 1))


def test_named_colours_decide_the_order():
    regions = split_by_colour(drawing(BLUE, WHITE, RED), 20, 30, colours=parse_colours("#f00 #0000FF"))
    assert regions[0, 0, 29] == 1 and regions[1, 0, 0] == 1


def test_blurred_edges_and_shades_belong_to_the_nearest_region():
    painted = drawing(*[RED] * 4, *[GREEN] * 4)
    painted[:, 39] = torch.tensor([0.6, 0.4, 0.0])
    noise = torch.rand(painted.shape, generator=torch.Generator().manual_seed(0)) * 0.1
    colours = find_colours((painted + noise - 0.05).clamp(0, 1))
    assert len(colours) == 2
    assert len(split_by_colour((painted + noise - 0.05).clamp(0, 1), 20, 80)) == 2


def test_a_drawing_without_colours_and_a_text_that_names_no_colour_are_refused():
    with pytest.raises(ValueError, match="no colour beside the background"):
        split_by_colour(drawing(WHITE), 8, 8, background=[WHITE])
    with pytest.raises(ValueError, match="'red' is not a colour"):
        parse_colours("red")


def test_soft_edges_fade_and_still_add_up_to_one():
    hard = split_canvas([1], [1, 1], 64, 64)
    soft = soften(hard, 0.25)
    # The sum of two blurs is off by float32 roundings of a 25-tap sum.
    torch.testing.assert_close(soft.sum(0), torch.ones(64, 64), rtol=0, atol=1e-5)
    line = soft[0, 32]
    assert (line.diff() <= 1e-6).all() and 0.45 < line[31] and line[32] < 0.55
    assert line[20] > 0.99 and line[44] < 0.01, "the fade is about a quarter of the shorter side wide"
    assert torch.equal(soften(hard, 0.0), hard)


def test_the_preview_shows_each_region_in_a_colour_of_its_own():
    picture = draw_regions(split_canvas([1, 1], [1, 1], 30, 60), 256)
    assert picture.size == (256, 128)
    corners = [picture.getpixel((x, y)) for x in (2, 253) for y in (2, 125)]
    assert len(set(corners)) == 4
