"""The loop that all models share: AdamW, a warm-up, a cosine to zero, a progress bar, and the curve of the loss."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from .checkpoints import EVERY, Progress, restore, write

R = TypeVar("R")  # a round of training
WARM_UP = 100  # steps


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn."""

    steps: int
    batch: int
    rate: float
    seed: int
    average: float = 0.0  # decay of the running mean of the weights; 0: the last weights are kept


@dataclass
class Curve:
    """The loss of every step."""

    name: str
    losses: list[float] = field(default_factory=list)


def rate_at(step: int, plan: Plan) -> float:
    warm = min(1.0, (step + 1) / min(WARM_UP, plan.steps))
    return plan.rate * warm * 0.5 * (1 + math.cos(math.pi * step / plan.steps))


def train(
    name: str, module: nn.Module, plan: Plan, loss: Callable[[torch.Generator], Tensor], checkpoint: Path | None = None
) -> Curve:
    """Train a module in place; `loss` draws its own batch from the generator that it is given.

    With a file for a `checkpoint` the training goes on where that file is, and keeps it up to date.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=plan.rate, weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    generator = torch.Generator().manual_seed(plan.seed)
    mean = copy.deepcopy(module) if plan.average else None
    curve = Curve(name)
    progress = Progress(module, optimizer, generator, mean, curve.losses)
    if checkpoint:
        restore(checkpoint, progress, plan)
    done = len(curve.losses)
    for step in (bar := tqdm(range(done, plan.steps), desc=name, initial=done, total=plan.steps, mininterval=5)):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, plan)
        curve.losses.append(take_step(progress, parameters, loss))
        if mean is not None:
            update_mean(mean.parameters(), module.parameters(), min(plan.average, (step + 1) / (step + 10)))
        if step % 20 == 0:
            bar.set_postfix(loss=f"{sum(curve.losses[-20:]) / len(curve.losses[-20:]):.4f}")
        if checkpoint and ((step + 1) % EVERY == 0 or step + 1 == plan.steps):
            write(checkpoint, progress, plan)
    if mean is not None:
        module.load_state_dict(mean.state_dict())
    return curve


def train_rounds(
    name: str, rounds: Sequence[R], train_round: Callable[[R, Path | None], Curve], checkpoint: Path | None
) -> Curve:
    """Train round after round, each with a checkpoint of its own; the losses of all as one curve."""
    curve = Curve(name)
    for number, one in enumerate(rounds, 1):
        file = checkpoint and checkpoint.with_stem(f"{checkpoint.stem} {number}")
        curve.losses += train_round(one, file).losses
    return curve


def take_step(
    progress: Progress, parameters: Sequence[nn.Parameter], loss: Callable[[torch.Generator], Tensor]
) -> float:
    """One step of the optimizer; the loss before it."""
    value = loss(progress.generator)
    progress.optimizer.zero_grad()
    value.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    progress.optimizer.step()
    return value.item()


@torch.no_grad()
def update_mean(mean: Iterable[Tensor], new: Iterable[Tensor], decay: float) -> None:
    torch._foreach_lerp_(list(mean), list(new), 1 - decay)  # pyright: ignore[reportPrivateImportUsage]


@contextmanager
def mixed(device: str) -> Iterator[None]:
    """Matrix products in 16 bits and sums in 32 where the processor multiplies 16 bits itself; else all in 32.

    Processors that do not would emulate it: 20 s for a step of all three models, and 1.5 s in 32. On the CPU attention
    is computed by plain products: with heads of 8 numbers such a step takes 0.72 s of one core so, and 0.88 s with
    torch's fused attention, whose backward is slow there.
    """
    kind = torch.device(device).type
    plain = sdpa_kernel(SDPBackend.MATH) if kind == "cpu" else nullcontext()
    with torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or has_bfloat16()), plain:
        yield


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself, by the names that torch gives to it (`bf16` on ARM)."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def pick(count: int, batch: int, generator: torch.Generator) -> Tensor:
    """The rows of one batch."""
    return torch.randint(count, (batch,), generator=generator)
