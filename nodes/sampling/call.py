"""One call of the model: the roles of its rows, and the weight of every image prompt in every layer."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary, proxy

from ...ipadapter.image_prompt import ImagePrompt, Rows
from ...ipadapter.weights import Weights
from ...weight_schedules.position import SamplingPosition
from ..host_types import NoiseSchedule, Options
from .rows import read_rows

# model_sampling -> (the `sigmas` tensor that the positions were computed from, the positions)
_POSITIONS: WeakKeyDictionary[NoiseSchedule, tuple[object, SamplingPosition]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Call:
    """One call of the model.

    `weights` has one weight per layer for every prompt inside its range of sampling. `moment` is sigma if the keys and
    values of a prompt depend on it, else None. `latent` is the latent's height and width, None if the caller did not go
    through `apply_model`. `unplaced` are prompts whose frames differ, left out because the frames are unknown.
    """

    rows: Rows
    weights: dict[ImagePrompt, tuple[float, ...]]
    moment: float | None = None
    latent: tuple[int, int] | None = None
    unplaced: tuple[ImagePrompt, ...] = ()

    @property
    def key(self) -> Hashable:
        """Equal for calls that can share a plan. It leaves out weights of schedules, which change at every step."""
        constant = [weights if prompt.weights.constant else None for prompt, weights in self.weights.items()]
        return self.rows, tuple(self.weights), tuple(constant), self.moment, self.latent

    def acting(self, prompts: Sequence[ImagePrompt], layer: int) -> list[ImagePrompt]:
        """The prompts whose weight in a layer is not 0."""
        return [prompt for prompt in prompts if self.weight(prompt, layer)]

    def weight(self, prompt: ImagePrompt, layer: int) -> float:
        """The weight of a prompt in a layer; 0 outside of its range, and in layers beyond its last weight."""
        weights = self.weights.get(prompt, ())
        return weights[layer] if layer < len(weights) else 0.0


def read_call(
    options: Options,
    count: int,
    prompts: Sequence[ImagePrompt],
    model_sampling: NoiseSchedule,
    latent: tuple[int, int] | None = None,
) -> Call:
    """The call with `count` rows that these transformer options belong to.

    Reading sigma from a GPU waits for the device, so it is read once, and only if a prompt depends on it.
    """
    rows = read_rows(options, count)
    position = position_of(model_sampling)
    sigma = None
    if "sigmas" in options and any(prompt.depends_on_sigma for prompt in prompts):
        sigma = float(options["sigmas"][0])
    weights, unplaced = {}, []
    for prompt in prompts if rows.branches else ():
        now = weights_now(prompt, position, sigma)
        if now is not None and any(now):
            if rows.placed or not prompt.frames_differ:
                weights[prompt] = now
            else:
                unplaced.append(prompt)
    moment = sigma if any(prompt.source.timed for prompt in weights) else None
    return Call(rows, weights, moment, latent, tuple(unplaced))


def weights_now(prompt: ImagePrompt, position: SamplingPosition, sigma: float | None) -> tuple[float, ...] | None:
    """A prompt's weight in every layer at a sigma; None outside of the prompt's range."""
    if sigma is None or not prompt.depends_on_sigma:
        return prompt.first_weights
    if not position.active(sigma, prompt.start_at, prompt.end_at):
        return None
    return prompt.first_weights if prompt.weights.constant else prompt.weights.at(position.percent(sigma))


def position_of(model_sampling: NoiseSchedule, applying: bool = False) -> SamplingPosition:
    """The sampling positions of a noise schedule, shared by all prompts that are applied to its model.

    The table takes a thousand calls of `percent_to_sigma`, each of which waits for the GPU. Another pack may replace
    the schedule's sigmas, so they are compared when a node applies a prompt (`applying`). They are not compared while
    the model samples: there the tensor is another object only because it moved to the model's device.
    """
    sigmas = getattr(model_sampling, "sigmas", None)
    known, position = _POSITIONS.get(model_sampling, (None, None))
    if position is None or (applying and known is not sigmas):
        schedule = proxy(model_sampling)  # with a strong reference, the WeakKeyDictionary would never drop its key
        position = SamplingPosition(lambda percent: schedule.percent_to_sigma(percent))
        _POSITIONS[model_sampling] = sigmas, position
    return position


class Ranged(Protocol):
    """A reference with a range of sampling percents and with weights."""

    @property
    def start_at(self) -> float: ...

    @property
    def end_at(self) -> float: ...

    @property
    def weights(self) -> Weights: ...


def read_noise_schedule(model_sampling: NoiseSchedule, references: Iterable[Ranged]) -> None:
    """Compute the sampling positions that references need when a node runs. While sampling, each call into the noise
    schedule would wait for the GPU.
    """
    position = position_of(model_sampling, applying=True)
    for reference in references:
        for percent in (reference.start_at, reference.end_at):
            position.sigma(percent)
        if not reference.weights.constant:
            position.percent(0.0)
