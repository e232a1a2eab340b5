"""Where sampling stands: the sampling percent of a sigma, for every sampler and scheduler.

`start_at`, `end_at` and weight schedules are in percent; the sampler hands a model call its sigma.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import cached_property

_STEPS = 1000  # intervals of the table: as fine as the 1,000 training steps of a discrete model
# percent_to_sigma returns sentinels at exactly 0 and 1 (infinity and 0). This far inside, it returns the model's own
# largest and smallest sigma.
_EDGE = 1e-7
# A scheduler and `percent_to_sigma` compute the sigma of a percent in different orders of float32's operations: the
# results differ by up to this part of them.
_ROUNDING = 2e-6
_PERCENT_ROUNDING = 1e-5  # what that, and the table, may change a percent by


def rounded_range(first: float, last: float) -> tuple[float, float]:
    """The sigmas at which a range begins and ends, so that it holds sigmas that equal these but for rounding."""
    return first * (1 + _ROUNDING), last * (1 - _ROUNDING)


class SamplingPosition:
    """Converts between sigma and percent for one noise schedule, with Python numbers only.

    `percent_to_sigma` is the host's own function: 0 is the start of sampling, 1 its end, and sigma falls as percent
    rises.
    """

    def __init__(self, percent_to_sigma: Callable[[float], float]) -> None:
        self._percent_to_sigma = percent_to_sigma
        self._sigmas: dict[float, float] = {}

    def sigma(self, percent: float) -> float:
        """The sigma at a percent, as the host gives it."""
        if percent not in self._sigmas:
            self._sigmas[percent] = float(self._percent_to_sigma(percent))
        return self._sigmas[percent]

    def active(self, sigma: float, start_at: float, end_at: float) -> bool:
        """Whether a sigma lies in the range from start_at to end_at. The step at either end belongs to the range."""
        first, last = rounded_range(self.sigma(start_at), self.sigma(end_at))
        return last <= sigma <= first

    def percent(self, sigma: float) -> float:
        """The percent at a sigma, 0 to 1: the inverse of the host's function.

        It comes from a table of the function, interpolated in log(sigma): samplers step at sigmas between those of the
        table, and a curve of weights that only knew the table's percents would be off by up to a thousandth.
        """
        percents, negative_logs = self._table
        target = -_log(sigma)
        right = bisect_left(negative_logs, target)
        if right in (0, len(percents)):
            return percents[0] if right == 0 else percents[-1]
        low, high = negative_logs[right - 1], negative_logs[right]  # low < target <= high
        share = (target - low) / (high - low)
        percent = percents[right - 1] + share * (percents[right] - percents[right - 1])
        # Widgets have the table's percents, and a curve may jump there: the step at a percent gets this percent itself.
        nearest = percents[right - 1] if share < 0.5 else percents[right]
        return nearest if abs(percent - nearest) < _PERCENT_ROUNDING else percent

    @cached_property
    def _table(self) -> tuple[list[float], list[float]]:
        percents = [step / _STEPS for step in range(_STEPS + 1)]
        inner = [min(max(percent, _EDGE), 1 - _EDGE) for percent in percents]
        return percents, [-_log(float(self._percent_to_sigma(percent))) for percent in inner]


def _log(sigma: float) -> float:
    return math.log(max(sigma, 1e-30))  # the last sigma of a run is 0
