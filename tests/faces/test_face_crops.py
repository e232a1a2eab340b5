"""Crops equal those that the adapters were trained on."""

import numpy as np
import pytest
from insightface.utils import face_align

from pack.encoders.face_crops import aligned_crop, box_crop, similarity, template_points

POINTS = np.array([[204.0, 101], [245, 99], [221, 124], [208, 143], [240, 142]], np.float32)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # insightface calls what scikit-image is about to remove
@pytest.mark.parametrize("size", [112, 224, 256, 336, 512])
def test_an_aligned_crop_equals_insightface_s_norm_crop(picture, size):
    ours, theirs = aligned_crop(picture, POINTS, size), face_align.norm_crop(picture, POINTS, size)
    # the two solve for the same transform by other routes: pixels on a rounding edge may differ by one step
    assert np.abs(ours.astype(int) - theirs).max() <= 8 and (ours != theirs).mean() < 1e-3


def test_a_similarity_maps_points_onto_a_turned_scaled_and_shifted_copy():
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.7
    points = POINTS.astype(np.float64)
    matrix = similarity(points, points @ turn.T + [5, -3])
    np.testing.assert_allclose(matrix, np.column_stack([turn, [5, -3]]), atol=1e-10)


def test_padding_moves_the_face_points_towards_the_middle():
    near, far = template_points(224), template_points(224, padding=0.5)
    np.testing.assert_allclose(far - 112, (near - 112) / 2)


def test_a_box_crop_is_the_square_around_the_box(picture):
    crop = box_crop(picture, np.array([100.0, 50, 140, 110]), 60)
    np.testing.assert_array_equal(crop, picture[50:110, 90:150])


def test_a_padded_box_crop_keeps_its_middle_and_is_black_outside_the_picture(picture):
    crop = box_crop(picture, np.array([0.0, 0, 40, 40]), 80, padding=0.5)
    np.testing.assert_array_equal(crop[20:, 20:], picture[:60, :60])
    assert not crop[:20].any() and not crop[:, :20].any()
