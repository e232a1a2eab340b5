"""Drawings of eyes, nose and mouth, against what InstantID's authors' drawing gives for the same points."""

import numpy as np
import pytest
import torch

from pack.encoders.face_places import PLACES
from pack.encoders.keypoints import COLOURS, draw_keypoints, keypoint_picture, to_box
from pack.ipadapter.errors import FaceError

POINTS = np.array([(92.4, 100.7), (161.2, 96.3), (131.8, 139.5), (101.1, 176.9), (158.6, 172.2)])
DISC = 317  # pixels of a point of radius 10
# Pixels of each line that no point and no later line covers; measured with OpenCV 5.0.0.
LIMBS = {(153, 0, 0): 300, (0, 153, 0): 281, (153, 153, 0): 243, (153, 0, 153): 200}


def count(picture: np.ndarray) -> dict[tuple[int, ...], int]:
    colours, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    found = {tuple(map(int, colour)): int(n) for colour, n in zip(colours, counts, strict=True)}
    return {colour: n for colour, n in found.items() if any(colour)}


def test_points_are_discs_and_lines_to_the_nose_lie_under_them():
    assert count(draw_keypoints([POINTS], (256, 256))) == dict.fromkeys(COLOURS, DISC) | LIMBS


def test_several_faces_are_drawn_as_each_alone():
    shift = np.array([256, 0])
    both = draw_keypoints([POINTS, POINTS + shift], (256, 512))
    assert (both[:, :256] == draw_keypoints([POINTS], (256, 256))).all() and (both[:, :256] == both[:, 256:]).all()


def test_points_follow_the_middle_of_a_picture_onto_a_canvas_and_keep_their_width():
    onto = to_box(np.array([(0.0, 0.0), (200, 100), (400, 200)]), (200, 400), (0, 0, 100, 100))
    assert onto.tolist() == [[-50, 0], [50, 50], [150, 100]]
    face = torch.zeros(16)
    face[5:15] = torch.from_numpy(POINTS * 4).float().flatten()
    drawn = keypoint_picture(face.unsqueeze(0), (1024, 1024), (256, 256))
    assert (drawn * 255).round().numpy().astype(np.uint8).tolist() == draw_keypoints([POINTS], (256, 256)).tolist()


def detection(points: np.ndarray) -> torch.Tensor:
    face = torch.zeros(16)
    face[5:15] = torch.from_numpy(points).float().flatten()
    return face


def test_a_mask_chooses_a_face_of_a_group_or_the_part_of_the_canvas_that_a_photo_fills():
    group = torch.stack([detection(POINTS), detection(POINTS + np.array([256, 0]))])  # side by side
    left, small = torch.zeros(1, 8, 16), torch.zeros(4, 8)
    left[..., :8], small[2:, 4:] = 1, 0.7
    size, canvas = (256, 512), (128, 256)
    chosen = PLACES["the face in the mask"](group, size, canvas, left)
    assert chosen.faces.equal(group[:1]) and chosen.box == (0, 0, 128, 256)
    placed = PLACES["the photo in the mask"](group, size, canvas, small)
    assert placed.faces.equal(group) and placed.box == (64, 128, 64, 128)
    corner = keypoint_picture(group, size, canvas, placed.box)
    assert not corner[:54].any() and not corner[:, :118].any()  # 10 pixels around a point are its own
    shown = keypoint_picture(group, size, (64, 128))  # the points of the lines are rounded alike: the box starts whole
    assert corner[64:, 128:].equal(shown)
    with pytest.raises(FaceError, match="has 1 faces, and none of them lies in the white part"):
        PLACES["the face in the mask"](group[1:], size, canvas, left)
    with pytest.raises(FaceError, match="The mask is black"):
        PLACES["the photo in the mask"](group, size, canvas, 0 * left)
    with pytest.raises(FaceError, match="connect a mask"):
        PLACES["the photo in the mask"](group, size, canvas, None)


def test_a_detector_without_points_is_refused():
    with pytest.raises(FaceError, match="finds no eyes, nose and mouth"):
        keypoint_picture(torch.full((1, 16), torch.nan), (64, 64), (64, 64))
