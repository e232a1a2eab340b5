"""Riders: objects that change model calls without a patch in the model.

Before the model runs, `Hooks` passes every model call to each rider in turn. A rider returns the call unchanged, or a
copy with other conditionings or other transformer options.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..host_types import HostModel, OwnOptions
from .plan import Plan


@dataclass(frozen=True)
class ModelCall:
    """One call of `apply_model`, before the model runs.

    `model` is ComfyUI's BaseModel, `x` the noised latents (rows, channels, ...), `t` the sigma of every row, `conds`
    the keyword arguments made from conditionings (`ref_latents` among them). `plan` holds the roles of the rows, the
    store of this run's tensors, and the position in sampling. `say` shows notes on the node that samples, each once in
    a run. A rider that puts an attention override into the options sets `overrides`; a compiled model then runs without
    its graphs.
    """

    model: HostModel
    x: Tensor
    t: Tensor
    options: OwnOptions
    conds: OwnOptions
    plan: Plan
    say: Callable[[Sequence[str]], None]
    overrides: bool = False

    def run(self) -> Tensor:
        """The model's prediction for this call, below the wrappers of other packs and of ComfyUI."""
        return self.model._apply_model(self.x, self.t, transformer_options=self.options, **self.conds)


class Rider(ABC):
    """Changes model calls. A model has at most one rider of a class; riders of a lower `order` come first."""

    order: ClassVar[int]

    @abstractmethod
    def before_call(self, call: ModelCall) -> ModelCall:
        """The call that the model gets in place of `call`, whose dicts must not be changed."""

    def check(self, model: ModelPatcher) -> None:  # noqa: B027  (most riders need nothing of a model)
        """Raises AdapterError if the rider cannot act in a model, whose modules other packs may have replaced."""

    def pixels(self) -> int:
        """The number of latent pixels whose keys and values the rider keeps on the device during a run."""
        return 0

    def begin_run(self) -> None:  # noqa: B027  (a rider may have nothing to count)
        """Called when a sampling run begins."""

    def end_run(self) -> Sequence[str]:
        """Called when a sampling run has ended. Returns notes for the user."""
        return ()

    def cleanup(self) -> None:  # noqa: B027
        """Called when ComfyUI cleans up after sampling: drop the tensors of the run."""


def ride(riders: Sequence[Rider], call: ModelCall) -> ModelCall:
    """The call after all riders have changed it, in their order."""
    for rider in riders:
        call = rider.before_call(call)
    return call


@contextmanager
def whole_run(riders: Sequence[Rider], say: Callable[[Sequence[str]], None]) -> Iterator[None]:
    """One sampling run of all riders; at its end, `say` gets what the user should know about it."""
    for rider in riders:
        rider.begin_run()
    yield
    say([note for rider in riders for note in rider.end_run()])
