"""Charts of scores put every point where its numbers say."""

import numpy as np

from pack.charts.paint import UNIT
from pack.charts.score_chart import COLOURS, LEFT, SIDE, TOP, Series, draw_scores


def test_points_lie_by_their_scores_and_the_marked_one_is_larger():
    curve = Series("1: linear", [(0.2, 0.1), (0.3, 0.6)], ["0", "1"], marked=1, joined=False)
    pixels = np.asarray(draw_scores([curve]))
    low, high = SIDE / 12, SIDE * 11 / 12  # a tenth of the range lies beyond both ends
    ends = [(LEFT + low, TOP + high), (LEFT + high, TOP + low)]
    for (x, y), wide in zip(ends, (8, 16), strict=True):
        row = pixels[round(y * UNIT), round(x * UNIT) - 40 : round(x * UNIT) + 40]
        assert (row == COLOURS[0]).all(-1).sum() == 2 * wide + 1  # a dot's diameter, both ends included


def test_a_series_is_joined_by_a_line_unless_it_says_otherwise():
    ends = [(0.2, 0.2), (0.4, 0.4)]
    middle = round((TOP + SIDE / 2) * UNIT), round((LEFT + SIDE / 2) * UNIT)
    for joined in (True, False):
        pixels = np.asarray(draw_scores([Series("pictures", ends, ["1", "2"], joined=joined)]))
        assert (tuple(pixels[middle]) == COLOURS[0]) == joined
