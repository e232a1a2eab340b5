"""The wrappers that ComfyUI calls around the sampler and around each model call.

They note the roles of a call's rows, make the call's plan, and pass it to the patches in our entry of
`transformer_options`. Riders (riders.py) may change the call before that. The parameters of wrappers have ComfyUI's
names, since other packs' wrappers may pass them by keyword.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.sites import Site
from ..host_types import Conds, Executor, HostModel, NoiseSchedule, Options, OtherPatch, OwnOptions
from .call import Call, read_noise_schedule
from .compiled import (
    graph_keyword,
    is_compiled,
    patched_everywhere,
    safe_graphs,
    serving_graphs,
    with_empty_output,
)
from .originals import refuse_replaced_projections
from .patches import KEY, AttentionPatch, Shared, refuse_recording
from .plan import Plans
from .replaced import replaced_notes
from .riders import ModelCall, Rider, ride, whole_run
from .rows import branches_of_conds, guider_notes, with_notes
from .run import UNKNOWN_FRAMES, UNKNOWN_ROWS, UNUSED_PICTURES, Run, tiled_notes


@dataclass(eq=False)
class Hooks(Shared):
    """The image prompts and the riders of one model, with the wrappers and callbacks that ComfyUI calls for them.

    `patch_at` reads the patch of a site from transformer options. `idle` are patches without prompts, one per site, for
    compiled graphs. `riders` are in the order in which they get a call.
    """

    prompts: tuple[ImagePrompt, ...]
    model_sampling: NoiseSchedule
    sites: Sequence[Site] = ()
    patch_at: Callable[[Options, Site], OtherPatch] = lambda options, site: None
    idle: Sequence[AttentionPatch] = ()
    riders: Sequence[Rider] = ()
    run: Run = field(default_factory=Run)

    def __post_init__(self) -> None:
        self.plans = Plans(self.prompts, self.model_sampling)
        read_noise_schedule(self.model_sampling, [prompt for prompt in self.prompts if prompt.depends_on_sigma])

    def on_sampler_sample(
        self, executor: Executor, model_wrap: HostModel, sigmas: Tensor, extra_args: OwnOptions, callback: Conds,
        noise: Tensor, *args: object, **kwargs: object,
    ) -> Tensor:  # fmt: skip
        """Wrap a sampling run: note the guider's conditionings and the canvas (latent pixels) of their areas."""
        self.plans.earlier.clear()
        if (sampled := getattr(model_wrap, "model_patcher", None)) is not None:
            reached = [site for site in self.sites if any(prompt.reaches(site.layer) for prompt in self.prompts)]
            refuse_replaced_projections(sampled, reached)
            for rider in self.riders:
                rider.check(sampled)
        options = with_notes(extra_args["model_options"], guider_notes(model_wrap, noise))
        extra_args = {**extra_args, "model_options": options}
        with self.run.watched(), whole_run(self.riders, self.run.say):
            return executor(model_wrap, sigmas, extra_args, callback, noise, *args, **kwargs)

    def on_apply_model(
        self, executor: Executor, x: Tensor, t: Tensor, c_concat: Conds = None, c_crossattn: Conds = None,
        control: Conds = None, transformer_options: OwnOptions | None = None, **kwargs: object,
    ) -> Tensor:  # fmt: skip
        """Wrap one model call: make its plan, let the riders change the call, and pass the plan to every patch."""
        refuse_recording()
        options = given = transformer_options or {}
        model = executor.class_obj
        plan = self.plans.make(options, len(x), model.model_sampling, (x.shape[-2], x.shape[-1]))
        plan.model = model
        self.run.expected = self.run.expected or bool(plan.call.weights)
        if self.prompts and not plan.reached and (notes := notes_of_call(plan.call, options, len(x))):
            self.run.say(notes)
        overrides = False
        if self.riders:
            call = ride(self.riders, ModelCall(model, x, t, options, kwargs, plan, self.run.say))
            options, kwargs, overrides = call.options, call.conds, call.overrides
        if not self.prompts:  # riders alone: such calls can use the graph of the unpatched model
            options = {name: value for name, value in options.items() if name != KEY}
        else:
            options = {**options, KEY: {**options.get(KEY, {}), "plan": plan, "visited": set()}}
        if self.prompts and is_compiled(model, options):
            options = patched_everywhere(options, self.idle)
            kwargs, control = {**kwargs, graph_keyword(options): None}, with_empty_output(model, control)
        with serving_graphs(options), safe_graphs(model, options, kwargs if self.prompts else {}, overrides):
            out = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
        if plan.call.weights and not self.run.compared:
            self.run.compared = True
            self.run.say(notes := replaced_notes(self.sites, self.patch_at, plan, given, model.current_patcher))
            self.run.reached = bool(notes)  # the notes name the cause already, so no second note is needed
        self.run.reached = self.run.reached or plan.called
        return out

    def on_cleanup(self, *_: object) -> None:
        """Drop the tensors that a sampling run left on the device."""
        self.plans.clear()
        for rider in self.riders:
            rider.cleanup()
        for prompt in self.prompts:
            prompt.source.forget()


def on_calc_cond_batch(
    executor: Executor,
    model: HostModel,
    conds: Sequence[Conds],
    x_in: Tensor,
    timestep: Tensor,
    model_options: OwnOptions,
) -> list[Tensor]:
    """Wrap the evaluation of all conditionings at one step: note their branches and the number of latents."""
    notes = {"branches": branches_of_conds(conds, model_options), "latents": len(x_in)}
    return executor(model, conds, x_in, timestep, with_notes(model_options, notes))


def on_prepare_sampling(
    hooks: Hooks, executor: Executor, model: ModelPatcher, noise_shape: Sequence[int], *args: object, **kwargs: object
) -> object:
    """Wrap the loading of the models for a run. ComfyUI frees memory by the number of latents in `noise_shape`, so what
    riders keep on the device counts as more of them, of the picture's size.
    """
    count, *size = noise_shape
    kept = sum(rider.pixels() for rider in hooks.riders)
    return executor(model, (count + math.ceil(kept / math.prod(size[1:])), *size), *args, **kwargs)


def notes_of_call(call: Call, options: Options, count: int) -> list[str]:
    """Notes for the user about a call: rows of unknown branch, frames of unknown number, masks that cannot be placed,
    pictures beyond the last latent.
    """
    notes = options.get(KEY, {})
    if not call.rows.branches:
        labels = len(options.get("cond_or_uncond") or [0])
        return [UNKNOWN_ROWS.format(count=count, labels=labels, latents=notes.get("latents", 1))]
    said = []
    if call.unplaced:
        said.append(UNKNOWN_FRAMES.format(batch=notes["batch"]))
    if call.rows.window is None and call.rows.frames == notes.get("latents"):
        pictures = max((prompt.source.images for prompt in call.weights if prompt.per_frame), default=0)
        if pictures > call.rows.frames:
            said = [UNUSED_PICTURES.format(pictures=pictures, latents=call.rows.frames)]
    if any(prompt.mask is not None for prompt in call.weights):
        said += tiled_notes(options, call)
    return said
