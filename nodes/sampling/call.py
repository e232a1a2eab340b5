"""One call of the model: what its rows are, and how strong each image prompt is in it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary, proxy

from ...ipadapter.image_prompt import ImagePrompt, Rows
from ...weight_schedules.position import SamplingPosition
from ..host_types import NoiseSchedule, Options
from .rows import read_rows

# By the model_sampling of a host's model: its sigmas when their positions were computed, and the positions.
_POSITIONS: WeakKeyDictionary[NoiseSchedule, tuple[object, SamplingPosition]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Call:
    """One call of the model.

    `weights` holds the prompts inside their range of sampling, with one weight per layer; `moment` is sigma where keys
    and values depend on it; `latent` is the latent's height and width, None where a caller went around `apply_model`.
    """

    rows: Rows
    weights: dict[ImagePrompt, tuple[float, ...]]
    moment: float | None = None
    latent: tuple[int, int] | None = None

    @property
    def key(self) -> Hashable:
        """Equal for calls that one plan serves: all but the weights of schedules, which change from step to step."""
        constant = [weights if prompt.weights.constant else None for prompt, weights in self.weights.items()]
        return self.rows, tuple(self.weights), tuple(constant), self.moment, self.latent

    def acting(self, prompts: Sequence[ImagePrompt], layer: int) -> list[ImagePrompt]:
        """Those of some prompts that act in a layer."""
        return [prompt for prompt in prompts if self.weight(prompt, layer)]

    def weight(self, prompt: ImagePrompt, layer: int) -> float:
        """The weight of a prompt in a layer; 0 outside of its range, and in layers that it has no weights for."""
        weights = self.weights.get(prompt, ())
        return weights[layer] if layer < len(weights) else 0.0


def read_call(
    options: Options,
    count: int,
    prompts: Sequence[ImagePrompt],
    model_sampling: NoiseSchedule,
    latent: tuple[int, int] | None = None,
) -> Call:
    """The call that these transformer options belong to, with `count` rows.

    On a GPU, reading sigma waits for the device, so it is read once, and only where a prompt depends on it.
    """
    rows = read_rows(options, count)
    position = position_of(model_sampling)
    sigma = None
    if "sigmas" in options and any(prompt.depends_on_sigma for prompt in prompts):
        sigma = float(options["sigmas"][0])
    weights = {}
    for prompt in prompts if rows.branches else ():
        now = weights_now(prompt, position, sigma)
        if now is not None and any(now):
            weights[prompt] = now
    moment = sigma if any(prompt.source.timed for prompt in weights) else None
    return Call(rows, weights, moment, latent)


def weights_now(prompt: ImagePrompt, position: SamplingPosition, sigma: float | None) -> tuple[float, ...] | None:
    """A prompt's weight in every layer at a sigma; None outside of its range."""
    if sigma is None or not prompt.depends_on_sigma:
        return prompt.first_weights
    if not position.active(sigma, prompt.start_at, prompt.end_at):
        return None
    return prompt.first_weights if prompt.weights.constant else prompt.weights.at(position.percent(sigma))


def position_of(model_sampling: NoiseSchedule, applying: bool = False) -> SamplingPosition:
    """The sampling positions of a noise schedule, computed once for every prompt that is ever applied to its model.

    A table of them takes a thousand calls into the schedule, and a GPU answers each one late. Another pack may replace
    the schedule's sigmas, so a node that applies a prompt compares them. While the model samples they are not
    compared: there the tensor only differs because it moved to the model's device.
    """
    sigmas = getattr(model_sampling, "sigmas", None)
    known, position = _POSITIONS.get(model_sampling, (None, None))
    if position is None or (applying and known is not sigmas):
        schedule = proxy(model_sampling)  # a strong reference would keep the schedule alive for ever
        position = SamplingPosition(lambda percent: schedule.percent_to_sigma(percent))
        _POSITIONS[model_sampling] = sigmas, position
    return position
