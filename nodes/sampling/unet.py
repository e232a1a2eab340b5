"""Image prompts in a UNet: the patch of a cross-attention, which adds theirs to the attention to the text."""

from collections.abc import Callable, Sequence
from typing import Any

import comfy.ldm.modules.attention as host_attention
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.attention import decoupled_attention
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.sites import Site
from ..host_types import Options, OtherPatch, OwnOptions, Patches
from .backend import OVERRIDE, few_tokens, overridden
from .hooks import Hooks
from .patches import KEY, AttentionPatch

AddedCallback = tuple[Callable[..., Tensor], OwnOptions]  # of another pack, with its arguments


def install(clone: ModelPatcher, site: Site, number: int, hooks: Hooks, prompts: tuple[ImagePrompt, ...]) -> None:
    """Let prompts act in a site of a cloned model, beside whatever patch its cross-attention has already."""
    present = patches_of(clone)
    before = patch_at(clone.model_options["transformer_options"], site)
    if isinstance(before, ImagePromptPatch):
        patch = before.with_prompts(hooks, before.prompts + prompts)
    elif prompts:
        patch = ImagePromptPatch(site, number, hooks, prompts, before)
    else:
        return
    # Other packs use two-part keys where a block has one layer.
    own_position = site.depth > 1 or site.address in present
    clone.set_model_attn2_replace(patch, *site.block, site.position if own_position else None)


def patches_of(model: ModelPatcher) -> Patches:
    """The patches that replace cross-attentions of a model, ours and others', by ComfyUI's address."""
    return _replacements(model.model_options["transformer_options"])


def patch_at(options: Options, site: Site) -> OtherPatch:
    """The patch that replaces a cross-attention in a model call, from its transformer options; None without one."""
    patches = _replacements(options)
    return patches.get(site.address, patches.get(site.block))


def _replacements(options: Options) -> Patches:
    return options.get("patches_replace", {}).get("attn2", {})


def replace_patches(clone: ModelPatcher, change: Callable[["ImagePromptPatch"], "ImagePromptPatch"]) -> None:
    """Replace every patch of ours on a cloned model by what `change` makes of it."""
    patches = patches_of(clone)
    for address, patch in patches.items():
        if isinstance(patch, ImagePromptPatch):
            patches[address] = change(patch)


def idle_patches(sites: Sequence[Site], hooks: Hooks) -> tuple["ImagePromptPatch", ...]:
    """A patch without prompts for every site: the attention to the text alone."""
    return tuple(ImagePromptPatch(site, number, hooks) for number, site in enumerate(sites))


class ImagePromptPatch(AttentionPatch):
    """Replaces one cross-attention: the text attention, or the patch that was there before, plus the attention of
    every image prompt.
    """

    added: tuple[AddedCallback, ...] = ()

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        """The text attention plus that of the image prompts in this model call."""
        if self.before is not None:
            out = self.before(q, k, v, options)
        else:
            out = text_attention(q, k, v, options, self.site.preferred_attention)
        # Every call counts here, which runs in every layer of every step: with a plan at hand, looking it up has none.
        try:
            plan = options[KEY]["plan"]
        except KeyError:
            plan = None
        if plan is None or plan.prompts is not self.hooks.prompts:
            plan = self.hooks.plans.of(self, options, len(q))
        plan.called = True
        rows, columns = options["activations_shape"][-2:]
        if q.shape[1] == rows * columns and not (self.site.along_frames and self._second_visit(options)):
            images = plan.images(self, self.prompts, (rows, columns), q)
            attention = few_tokens if OVERRIDE not in options else overridden(options)
            text, out = out, decoupled_attention(out, q, images, attention)
            if plan.observer is not None:
                plan.observe(float(options["sigmas"][0]), self.site, (rows, columns), text, out - text)
        for callback, arguments in self.added:
            if arguments["sigma_end"] <= float(options["sigmas"][0]) <= arguments["sigma_start"]:
                out = out + callback(out, q, k, v, options, **arguments)
        return out

    def _second_visit(self, options: OwnOptions) -> bool:
        """Whether this address was visited before in this model call: the attention along the frames of a video model,
        which sees no picture. Where a level has as many tokens as there are frames, only the order tells it from the
        attention inside of a frame.
        """
        visited = options.get(KEY, {}).get("visited", set())
        second = self.number in visited
        visited.add(self.number)
        return second

    def add(self, callback: Callable[..., Tensor], **arguments: float) -> None:
        """Add another pack's attention callback, as such packs do with whatever patch they find."""
        self.added = (*self.added, (callback, arguments))


def text_attention(q: Tensor, k: Tensor, v: Tensor, options: OwnOptions, preferred: Any = None) -> Tensor:
    """The attention that ComfyUI computes where no patch is, with its precision, backend, overrides and preference."""
    preference = {} if preferred is None else {"preferred_attention": preferred}  # no keyword of releases before 0.32
    precision = options["attn_precision"] if "attn_precision" in options else None
    return host_attention.optimized_attention(
        q, k, v, options["n_heads"], attn_precision=precision, transformer_options=options, **preference
    )
