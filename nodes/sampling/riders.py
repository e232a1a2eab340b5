"""Riders: what else changes the calls of a model's run, beside its image prompts.

A rider needs no patch in the model. `Hooks` gives every model call to each rider in turn, before the model runs, and a
rider gives the call back as it is, or another one: with other conditionings, or with transformer options of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..host_types import HostModel, OwnOptions
from .plan import Plan


@dataclass(frozen=True)
class ModelCall:
    """One call of `apply_model`, on its way to the model.

    `model` is ComfyUI's BaseModel, `x` the noised latents (rows, channels, ...), `t` the sigma of every row, `conds`
    the keyword arguments that conditionings became (`ref_latents` among them). `plan` holds what the rows are, the
    store of this run's tensors, and the position in sampling; `say` shows notes on the node that samples, each once in
    a run. A rider that puts an attention override into the options says so by `overrides`: then a compiled model runs
    without its graphs.
    """

    model: HostModel
    x: Tensor
    t: Tensor
    options: OwnOptions
    conds: OwnOptions
    plan: Plan
    say: Callable[[Sequence[str]], None]
    overrides: bool = False


class Rider(ABC):
    """Changes model calls. A model has at most one rider of a class; riders of a lower `order` come first."""

    order: ClassVar[int]

    @abstractmethod
    def before_call(self, call: ModelCall) -> ModelCall:
        """The call that the model gets in place of this one; the dicts of the call that came in are not changed."""

    def begin_run(self) -> None:  # noqa: B027  (a rider may have nothing to count)
        """A sampling run begins."""

    def end_run(self) -> Sequence[str]:
        """A sampling run has ended: what the user should know about it."""
        return ()

    def cleanup(self) -> None:  # noqa: B027
        """ComfyUI releases the model's memory: drop the tensors that the run left."""


def ride(riders: Sequence[Rider], call: ModelCall) -> ModelCall:
    """A call as all riders leave it, in their order."""
    for rider in riders:
        call = rider.before_call(call)
    return call
