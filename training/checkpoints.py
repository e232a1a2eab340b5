"""Checkpoints of a training stage, so that an interrupted stage continues with the same result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .loop import Plan

EVERY = 100  # steps


@dataclass
class Progress:
    """The state that a step changes: weights, their running mean, the optimizer's moments, the generator of batches."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    mean: nn.Module | None
    losses: list[float]


class CheckpointError(ValueError):
    """A checkpoint of another plan."""


def write(file: Path, progress: Progress, plan: "Plan") -> None:
    """Replace the checkpoint by a rename, so that an interruption leaves the previous checkpoint."""
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "plan": asdict(plan),
        "module": progress.module.state_dict(),
        "optimizer": progress.optimizer.state_dict(),
        "generator": progress.generator.get_state(),
        "mean": progress.mean.state_dict() if progress.mean else None,
        "losses": torch.tensor(progress.losses),
    }
    torch.save(state, beside := file.with_suffix(".part"))
    beside.replace(file)


def restore(file: Path, progress: Progress, plan: "Plan") -> None:
    """Load a checkpoint's state, if there is a file, into a new `progress`.

    Raises:
        CheckpointError: the checkpoint is of another plan.
    """
    if not file.exists():
        return
    state = _load(file)
    if state["plan"] != asdict(plan):
        raise CheckpointError(
            f"{file} is of the plan {state['plan']}, and this training's is {asdict(plan)}. "
            "Delete the file to begin again, or name another folder with --checkpoints."
        )
    progress.module.load_state_dict(state["module"])
    progress.optimizer.load_state_dict(state["optimizer"])
    progress.generator.set_state(state["generator"])
    if progress.mean:
        progress.mean.load_state_dict(state["mean"])
    progress.losses[:] = state["losses"].tolist()


def weights_of(file: Path) -> Mapping[str, Tensor]:
    """The weights of a checkpoint to publish: their running mean, or the weights themselves without a mean."""
    state = _load(file)
    return state["mean"] or state["module"]


def _load(file: Path) -> Mapping[str, Any]:
    return torch.load(file, map_location="cpu", weights_only=True)
