"""Plans of attentions with weighed references: what is the same in all layers, and in most steps, is computed once."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from torch import Tensor

from ...ipadapter.cache import tensor_bytes
from ...ipadapter.sequences import Layout
from ...ipadapter.weighed_attention import Group, Heard, biases_of, groups_of
from ...masks.grid import mask_around

# Bytes of biases that a run holds: those of numbers take kilobytes, and that of a mask at 1024² pixels 80 MB, of which
# only the last is held.
LIMIT = 64 * 2**20


class Level(NamedTuple):
    """The level of one reference in a call: a weight for every layer, and a mask on the picture's tokens.

    The mask is (rows or 1, tokens or 1, 1), None if it is 1 everywhere; one that is 0 everywhere is a level of weights
    0. Masks with equal keys are equal.
    """

    layers: tuple[float, ...]
    mask: Tensor | None = None
    key: Hashable = None

    @property
    def silent(self) -> bool:
        return not any(self.layers)

    @property
    def natural(self) -> bool:
        return self.mask is None and all(weight == 1 for weight in self.layers)

    def heard(self, layer: int, text: int) -> Heard:
        """The weight of the reference for every row in a layer whose sequence begins with `text` tokens of text."""
        weight = self.layers[layer]
        if self.mask is None or not weight:
            return Heard(weight, weight)
        head = mask_around(self.mask, text, 0) if self.mask.shape[1] > 1 else self.mask
        return Heard(weight * head, weight * self.mask.mean(dim=1, keepdim=True))


class ReferencePlan(NamedTuple):
    """The groups of rows of an attention, and for each the bias of its keys; None where the weights are 0 and 1."""

    layout: Layout
    groups: Sequence[Group]
    biases: Sequence[Tensor | None]


def plan_of(layout: Layout, rows: int, layer: int, levels: Sequence[Level], like: Tensor) -> ReferencePlan:
    """The plan of an attention with so many rows; biases have the dtype and the device of `like`."""
    groups = groups_of(layout, rows, [level.heard(layer, layout.text) for level in levels])
    return ReferencePlan(layout, groups, biases_of(layout, groups, like))


class ReferencePlans:
    """The plans of one run, with at most LIMIT bytes of biases, or those of one attention.

    `asked`: an attention asked for its plan in this run.
    """

    def __init__(self) -> None:
        self.asked = False
        self._of_calls: dict[Hashable, dict[Hashable, ReferencePlan]] = {}
        self._bytes = 0

    def of_call(self, call: Hashable) -> dict[Hashable, ReferencePlan]:
        """The plans of all calls with an equal key, by the keys of attentions."""
        return self._of_calls.setdefault(call, {})

    def store(self, plans: dict[Hashable, ReferencePlan], key: Hashable, plan: ReferencePlan) -> None:
        """Put a plan among those of its call. If there are too many bytes of biases then, all others are dropped."""
        size = tensor_bytes(plan.biases)
        if self._bytes + size > LIMIT:
            for other in [*self._of_calls.values()]:  # a copy: with several GPUs, another thread may add one
                other.clear()
            self._bytes = 0
        self._bytes += size
        plans[key] = plan

    def clear(self) -> None:
        self._of_calls.clear()
        self._bytes, self.asked = 0, False

    def biases(self) -> list[Tensor]:
        """All biases that are held."""
        plans = [plan for of_call in self._of_calls.values() for plan in of_call.values()]
        return [bias for plan in plans for bias in plan.biases if bias is not None]
