"""The interface of an image prompt's weights, which a schedule on a model's layers has. Imports nothing of the pack."""

from typing import Protocol


class Weights(Protocol):
    """How strong in every layer, at every moment, in every frame: a schedule on a model's layers."""

    @property
    def constant(self) -> bool:
        """Whether `at` gives the same at every percent."""
        ...

    @property
    def swapped(self) -> frozenset[int]:
        """Layers where only the negative rows get the image, which pushes the result away from it."""
        ...

    @property
    def frames(self) -> tuple[float, ...]:
        """One weight per frame of the batch, which multiplies those of the layers; empty for all alike."""
        ...

    def at(self, percent: float) -> tuple[float, ...]:
        """The weight of every layer at a sampling percent: 0 is the first step, 1 the end."""
        ...

    def largest(self, left: float, right: float) -> tuple[float, ...]:
        """A bound of every layer's absolute weight from one sampling percent to another: the largest weight itself
        where at most a single curve changes between them.
        """
        ...
