"""The interface of a prompt's weights: a schedule, applied to a model's layers. It imports no module of ours."""

from typing import Protocol


class Weights(Protocol):
    """The weight of an image prompt in every layer, at every sampling percent, in every frame."""

    @property
    def constant(self) -> bool:
        """Whether `at` returns the same weights at every percent."""
        ...

    @property
    def swapped(self) -> frozenset[int]:
        """Layers in which only the negative rows get the image, which pushes the result away from it."""
        ...

    @property
    def frames(self) -> tuple[float, ...]:
        """One weight per frame of the batch, which multiplies those of the layers; empty if all are 1."""
        ...

    def at(self, percent: float) -> tuple[float, ...]:
        """The weight of every layer at a sampling percent, from 0 (the first step) to 1 (the end)."""
        ...

    def largest(self, left: float, right: float) -> tuple[float, ...]:
        """An upper bound of every layer's absolute weight between two sampling percents. If at most one curve changes
        between them, the bound is the largest absolute weight itself.
        """
        ...
