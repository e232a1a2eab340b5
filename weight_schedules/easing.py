"""Curves over a position from 0 to 1, shared by the layer axis and the step axis."""

import math
from collections.abc import Callable

Curve = Callable[[float], float]  # position, 0 to 1 -> share, 0 to 1


def rise(position: float) -> float:
    """0 to 1 along a straight line."""
    return position


def fall(position: float) -> float:
    """1 to 0 along a straight line."""
    return 1.0 - position


def peak(position: float) -> float:
    """0 at both ends, 1 in the middle, straight lines between."""
    return 1.0 - abs(position * 2.0 - 1.0)


def valley(position: float) -> float:
    """1 at both ends, 0 in the middle, straight lines between."""
    return abs(position * 2.0 - 1.0)


def cosine_rise(position: float) -> float:
    """0 to 1 along half a cosine: flat at both ends, steepest in the middle."""
    return 0.5 - 0.5 * math.cos(math.pi * position)


def cosine_fall(position: float) -> float:
    """1 to 0 along half a cosine."""
    return 1.0 - cosine_rise(position)
