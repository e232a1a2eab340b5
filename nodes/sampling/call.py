"""Decide once per model call what every site needs: what the rows are, and how strong each image prompt is.

Nothing here knows what a site is inside, a cross-attention of a UNet or something else: a patch asks `Decider.images`
for the keys, values and masks that act in it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, proxy

import torch
from torch import Tensor

from ...ipadapter.attention import ImageTokens, Pair, at_weight
from ...ipadapter.cache import ContentCache
from ...ipadapter.image_prompt import ImagePrompt, Rows, arrange, branch_factors
from ...ipadapter.sites import Site
from ...masks.grid import mask_around, mask_on_grid
from ...weight_schedules.position import SamplingPosition
from .compiled import AttentionPatch, graph_keyword, is_compiled, patched_everywhere, serving_graphs, with_empty_place
from .never_called import Watch
from .replaced import Places, say_replaced
from .rows import KEY, branches_of_conds, guider_notes, read_rows, with_notes

Kept = TypeVar("Kept")
Grid = tuple[int, int]  # rows and columns of a level's tokens
Around = tuple[int, int]  # tokens before and behind those of the grid, which are no place in the picture
BUDGET = 256 * 2**20  # bytes of arranged K/V and masks that a model keeps on the device while it samples
# By the model_sampling of a host's model: its sigmas when they were looked up, and what was found.
_POSITIONS: WeakKeyDictionary[Any, tuple[Any, SamplingPosition]] = WeakKeyDictionary()


@dataclass(frozen=True)
class ModelCall:
    """What one call of the model needs to know: what its rows are, the weight of every prompt in every layer (None
    while idle), sigma where a prompt depends on it, and the latent's height and width where they are known. Sites that
    ask for their images are noted, and what kept others from it.
    """

    rows: Rows
    weights: Mapping[ImagePrompt, Sequence[float] | None]
    sigma: float | None = None
    latent: tuple[int, int] | None = None
    asked: set[int] = field(default_factory=set, compare=False)  # numbers of sites
    without_attention: dict[int, Any] = field(
        default_factory=dict, compare=False
    )  # what ran there, by number of a site

    def acts(self) -> bool:
        """Whether any prompt acts in any layer."""
        return any(any(weights) for weights in self.weights.values() if weights is not None)


@dataclass(eq=False)
class Decider:
    """Decides once per model call which prompts act, how strongly, and on which rows."""

    prompts: tuple[ImagePrompt, ...]
    model_sampling: Any
    idle: Sequence[AttentionPatch] = ()  # one per site, for graphs that serve whatever prompts reach
    places: Places = Places()
    watch: Watch = field(default_factory=Watch)
    store: ContentCache = field(default_factory=lambda: ContentCache(BUDGET))  # what sites need while sampling
    looked: bool = True  # whether, in this run, patches of others in the place of ours were looked for

    def __post_init__(self) -> None:
        """Look up what needs the host's noise schedule now: on a GPU, every look-up waits for the device."""
        position = position_of(self.model_sampling, applying=True)
        for prompt in self.prompts:
            for percent in (prompt.start_at, prompt.end_at) if prompt.depends_on_sigma else ():
                position.sigma(percent)
            if not prompt.weights.constant:
                position.percent(0.0)

    def on_sampler_sample(
        self, executor: Any, guider: Any, sigmas: Tensor, extra_args: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Note what the guider's conditionings are, and the canvas that their areas refer to."""
        self.looked = False
        noise = args[1] if len(args) > 1 else kwargs["noise"]
        options = with_notes(extra_args["model_options"], guider_notes(guider, tuple(noise.shape[-2:])))
        with self.watch.run():
            return executor(guider, sigmas, {**extra_args, "model_options": options}, *args, **kwargs)

    def on_calc_cond_batch(
        self,
        executor: Any,
        model: Any,
        conds: Sequence[Any],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> Any:
        """Note the branch of every list of conditionings in this call."""
        notes = {"branches": branches_of_conds(conds, model_options)}
        return executor(model, conds, x, timestep, with_notes(model_options, notes))

    def on_apply_model(
        self,
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Any,
        c_crossattn: Any,
        control: Any,
        options: dict,
        **kwargs: Any,
    ) -> Any:
        """Decide, and hand the decision down to every patch."""
        call = self.decide(options, len(x), executor.class_obj.model_sampling, (x.shape[-2], x.shape[-1]))
        self.watch.asked(not self.idle and call.acts())  # on UNets, `say_replaced` is enough
        options = {**options, KEY: {**options.get(KEY, {}), "call": call}}
        if is_compiled(executor.class_obj, options):
            options = patched_everywhere(options, self.idle)
            kwargs, control = {**kwargs, graph_keyword(options): None}, with_empty_place(executor.class_obj, control)
        with serving_graphs(options):
            out = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        if not self.looked and (acting := [weights for weights in call.weights.values() if weights is not None]):
            self.looked = True
            if say_replaced(self.places, acting, call.asked, options, call.without_attention):
                self.watch.answer()  # said with names
        return out

    def call_for(self, prompts: Sequence[ImagePrompt], options: dict[str, Any], rows: int) -> ModelCall:
        """The decision for this model call; made here where a caller went around ComfyUI's `apply_model` or dropped
        our wrappers.
        """
        call = options.get(KEY, {}).get("call")
        if call is not None and all(prompt in call.weights for prompt in prompts):
            return call
        return self.decide(options, rows, self.model_sampling)

    def decide(
        self, options: dict[str, Any], rows: int, model_sampling: Any, latent: tuple[int, int] | None = None
    ) -> ModelCall:
        """Read sigma at most once, and only where a prompt depends on it."""
        position = position_of(model_sampling)
        needed = any(prompt.depends_on_sigma for prompt in self.prompts) and "sigmas" in options
        sigma = float(options["sigmas"][0]) if needed else None
        weights = {prompt: _weights(prompt, position, sigma) for prompt in self.prompts}
        return ModelCall(read_rows(options, rows), weights, sigma, latent)

    def images(
        self,
        prompts: Sequence[ImagePrompt],
        site: Site,
        number: int,
        call: ModelCall,
        grid: Grid,
        like: Tensor,
        around: Around = (0, 0),
    ) -> Iterator[ImageTokens]:
        """What acts in a site (the `number`-th) in this model call, in the type and on the device of `like`."""
        call.asked.add(number)
        for prompt in acting(prompts, site, call):
            weight = call.weights[prompt][site.layer]  # pyright: ignore[reportOptionalSubscript]  # it acts
            mask = self._mask(prompt, site.layer, call.rows, grid, like, around)
            if prompt.mechanism.joins:
                keys, values = self._keys_values(prompt, site, number, call, 1.0, like)
                yield ImageTokens(keys, values, mask, weight, self._norms(prompt, number, like))
            else:
                keys, values = self._keys_values(prompt, site, number, call, weight, like)
                yield ImageTokens(keys, values, mask)

    def keep(self, key: tuple, make: Callable[[], Kept]) -> Kept:
        """What sites need again in the next step; no inference tensors, which samplers with gradients cannot use."""

        def plain() -> Kept:
            with torch.inference_mode(False), torch.no_grad():
                return make()

        return self.store.get_or_make(key, plain)

    def cleanup(self, *_: Any) -> None:
        """Give back what a sampling run left on the device."""
        self.store.clear()
        for prompt in self.prompts:
            prompt.source.forget()

    def _keys_values(
        self, prompt: ImagePrompt, site: Site, number: int, call: ModelCall, weight: float, like: Tensor
    ) -> tuple[Tensor, Tensor]:
        def arranged(weight: float) -> tuple[Tensor, Tensor]:
            def make() -> tuple[Tensor, Tensor]:
                k, v = arrange(prompt, number, site.layer, call.rows, site.heads, weight, call.sigma)
                return k.to(like), v.to(like)

            frames = call.rows.indices if prompt.rows_differ else None
            moment = call.sigma if prompt.source.timed else None
            key = (prompt, number, like.device, like.dtype, call.rows.branches, frames, weight, moment)
            return self.keep(key, make)

        return (
            arranged(weight)
            if prompt.weights.constant or prompt.mechanism.joins
            else at_weight(arranged(0.0), arranged(1.0), weight)
        )

    def _norms(self, prompt: ImagePrompt, number: int, like: Tensor) -> Pair:
        norms = prompt.source.norms(number)
        assert norms is not None
        return self.keep(("norms", prompt, number, like.device), lambda: _moved(norms, like.device))

    def _mask(
        self, prompt: ImagePrompt, layer: int, rows: Rows, grid: Grid, like: Tensor, around: Around
    ) -> Tensor | None:
        """A prompt's mask on a level's tokens, (rows or 1, tokens or 1, 1), with what swapped layers leave out and,
        where values cannot carry them, the weights of frames; None for all ones.
        """
        factors = branch_factors(prompt, layer, rows)
        frames = prompt.weights.frames if prompt.mechanism.joins else ()
        if prompt.mask is None and factors is None and not frames:
            return None
        key = ("mask", prompt, factors, rows, grid, around, like.device, like.dtype)

        def make() -> Tensor:
            mask = _mask_of_rows(prompt.mask, factors, rows, grid, frames)
            return (mask_around(mask, *around) if prompt.mask is not None else mask).to(like)

        return self.keep(key, make)


def position_of(model_sampling: Any, applying: bool = False) -> SamplingPosition:
    """The sampling positions of a noise schedule, made once for all that is ever applied to its model: a thousand
    look-ups, each of which a GPU answers late. Other packs may set other sigmas in place, which applying notices;
    while the model samples, they are others only because they were moved to its device.
    """
    sigmas = getattr(model_sampling, "sigmas", None)
    looked_up, position = _POSITIONS.get(model_sampling, (None, None))
    if position is None or (applying and looked_up is not sigmas):
        schedule = proxy(model_sampling)  # a strong reference would keep it for ever
        position = SamplingPosition(lambda percent: schedule.percent_to_sigma(percent))
        _POSITIONS[model_sampling] = sigmas, position
    return position


def acting(prompts: Sequence[ImagePrompt], site: Site, call: ModelCall) -> list[ImagePrompt]:
    """The prompts that act in a site in a model call."""
    weights = ((prompt, call.weights[prompt]) for prompt in prompts)
    return [prompt for prompt, of_layers in weights if of_layers is not None and of_layers[site.layer] != 0]


def _moved(pair: Pair, device: torch.device) -> Pair:
    return pair[0].to(device), pair[1].to(device)


def _weights(prompt: ImagePrompt, position: SamplingPosition, sigma: float | None) -> Sequence[float] | None:
    if sigma is None or not prompt.depends_on_sigma:
        return prompt.weights.at(0.0)
    if not position.active(sigma, prompt.start_at, prompt.end_at):
        return None
    return prompt.weights.at(0.0 if prompt.weights.constant else position.percent(sigma))


def _mask_of_rows(
    mask: Tensor | None, factors: tuple[float, ...] | None, rows: Rows, grid: Grid, frames: Sequence[float] = ()
) -> Tensor:
    of_frames = rows.pick_frames(torch.tensor(frames).view(-1, 1, 1)) if frames else None
    areas = rows.areas or (None,) * len(rows.branches)
    chunks = []
    for chunk, area in enumerate(areas):
        part = mask_on_grid(mask, grid, area, rows.canvas) if mask is not None else torch.ones(1, 1, 1)
        part = rows.pick_frames(part) if len(part) > 1 else part
        part = part if of_frames is None else part * of_frames
        chunks.append(part if factors is None else part * factors[chunk])
    if len(chunks[0]) == 1 and factors is None and of_frames is None and not rows.areas:
        return chunks[0]
    return torch.cat([chunk.expand(rows.frames, -1, -1) for chunk in chunks])
