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
    """Steps, batch size, learning rate and seed of a training."""

    steps: int
    batch: int
    rate: float
    seed: int
    average: float = 0.0  # decay of the running mean of the weights; 0: no mean, the last weights are the result


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
    """Train a module in place; `loss` draws a batch from the generator that it gets.

    With a `checkpoint` the training continues from this file, if it exists, and updates it.
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
    """Train the rounds in order, each with a checkpoint of its own; the losses of all rounds in a single curve."""
    curve = Curve(name)
    for number, one in enumerate(rounds, 1):
        file = checkpoint and checkpoint.with_stem(f"{checkpoint.stem} {number}")
        curve.losses += train_round(one, file).losses
    return curve


def take_step(
    progress: Progress, parameters: Sequence[nn.Parameter], loss: Callable[[torch.Generator], Tensor]
) -> float:
    """Take a step of the optimizer; the loss before the step."""
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
    """Matrix products in bfloat16 and sums in 32 bits if the processor has bfloat16 products; else all in 32 bits.

    Other processors would emulate the products: 20 s for a step of all three models, compared with 1.5 s in 32 bits. On
    the CPU attention is computed by plain products: with heads of 8 numbers a step takes 0.72 s of a core, and 0.88 s
    with torch's fused attention, whose backward pass is slow there.
    """
    kind = torch.device(device).type
    plain = sdpa_kernel(SDPBackend.MATH) if kind == "cpu" else nullcontext()
    with torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or has_bfloat16()), plain:
        yield


def has_bfloat16() -> bool:
    """Whether the processor has bfloat16 products, by torch's names of its capabilities (`bf16` on ARM)."""
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def pick(count: int, batch: int, generator: torch.Generator) -> Tensor:
    """The rows of a batch, (batch,), below `count`."""
    return torch.randint(count, (batch,), generator=generator)
