"""Contact sheets and tables hold every picture, in order, beside its name."""

import numpy as np
import pytest
from PIL import Image

from pack.charts.sheets import contact_sheet, labelled_grid


def test_a_contact_sheet_shows_every_picture_in_reading_order():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    pictures = [Image.new("RGB", (64, 32), colour) for colour in colours]
    sheet = np.asarray(contact_sheet(pictures, ["a", "b"], columns=2, title="t", cell=64))
    pixels = [np.argwhere((sheet == colour).all(-1)) for colour in colours]
    assert [len(found) for found in pixels] == [64 * 32] * 5
    corners = [tuple(found.min(0)) for found in pixels]
    assert corners == sorted(corners) and len({x for _, x in corners}) == 2 and len({y for y, _ in corners}) == 3


def test_a_grid_has_its_names_and_refuses_the_wrong_number_of_pictures():
    pictures = [Image.new("RGBA", (48, 48), (0, 0, 40 * number + 10, 255)) for number in range(6)]
    plain = labelled_grid(pictures, ["", ""], ["", "", ""], cell=48)
    named = labelled_grid(pictures, ["layer 3", "layer 6"], ["x1", "x1.5", "x2"], title="Layers", cell=48)
    assert named.width > plain.width and named.height > plain.height
    with pytest.raises(ValueError, match="2 rows and 2 columns needs 4 pictures, got 6"):
        labelled_grid(pictures, ["a", "b"], ["c", "d"])
    with pytest.raises(ValueError, match="no pictures"):
        contact_sheet([])
    with pytest.raises(ValueError, match="3 captions for 1 pictures"):
        contact_sheet(pictures[:1], ["a", "b", "c"])


def test_small_pictures_are_enlarged_pixel_by_pixel():
    noise = np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    sheet = contact_sheet([Image.fromarray(noise)], cell=96)
    x, y = (sheet.width - 96) // 2, (sheet.height - 96) // 2
    drawn = np.asarray(sheet.crop((x, y, x + 96, y + 96)))
    assert (drawn == noise.repeat(3, axis=0).repeat(3, axis=1)).all()
