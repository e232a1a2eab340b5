"""Image prompts in a UNet: the patch of a cross-attention, which adds the attention to image tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import comfy.ldm.modules.attention as host_attention
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.attention import decoupled_attention
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.sites import Site
from ..host_types import Options, OtherPatch, OwnOptions
from .backend import OVERRIDE, few_tokens, overridden
from .hooks import Hooks
from .patches import KEY, AttentionPatch, replacements

AddedCallback = tuple[Callable[..., Tensor], OwnOptions]  # of another pack, with its arguments


def install(clone: ModelPatcher, site: Site, number: int, hooks: Hooks, prompts: tuple[ImagePrompt, ...]) -> None:
    """Set our patch on a cross-attention of a cloned model; it calls the patch that was set before, if there is one."""
    options = clone.model_options["transformer_options"]
    before = patch_at(options, site)
    if isinstance(before, ImagePromptPatch):
        patch = before.with_prompts(hooks, before.prompts + prompts)
    elif prompts:
        patch = ImagePromptPatch(site, number, hooks, prompts, before)
    else:
        return
    # Some packs use the shorter key (part, number), without the position in the block.
    own_position = site.depth > 1 or site.address in replacements(options, "attn2")
    clone.set_model_attn2_replace(patch, *site.block, site.position if own_position else None)


def patch_at(options: Options, site: Site) -> OtherPatch:
    """The patch of a cross-attention in the transformer options of a model call; None if there is none."""
    patches = replacements(options, "attn2")
    return patches.get(site.address, patches.get(site.block))


def replace_patches(clone: ModelPatcher, change: Callable[["ImagePromptPatch"], "ImagePromptPatch"]) -> None:
    """Replace every patch of ours on a cloned model by `change(patch)`."""
    patches = replacements(clone.model_options["transformer_options"], "attn2")
    for address, patch in patches.items():
        if isinstance(patch, ImagePromptPatch):
            patches[address] = change(patch)


def idle_patches(sites: Sequence[Site], hooks: Hooks) -> tuple["ImagePromptPatch", ...]:
    """A patch without prompts for every site, which gives the attention to the text alone."""
    return tuple(ImagePromptPatch(site, number, hooks) for number, site in enumerate(sites))


class ImagePromptPatch(AttentionPatch):
    """Replaces one cross-attention by the attention to the text, or the earlier patch, plus the attention to every
    image prompt.
    """

    added: tuple[AddedCallback, ...] = ()

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        """The attention to the text plus that to the image prompts of this model call, (rows, tokens, channels)."""
        if self.before is not None:
            out = self.before(q, k, v, options)
        else:
            out = text_attention(q, k, v, options, self.site.preferred_attention)
        # Runs in every layer of every step, so the usual case, a plan in the options, needs no function call.
        try:
            plan = options[KEY]["plan"]
        except KeyError:
            plan = None
        if plan is None or plan.prompts is not self.hooks.prompts:
            plan = self.hooks.plans.of(self, options, len(q))
        if not plan.called:
            plan.begin()
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
        """Whether this model call has visited the site before.

        In a video model, the second visit is the attention along the frames, which image prompts do not join. If a
        level has as many tokens as there are frames, only the order distinguishes the two attentions.
        """
        visited = options.get(KEY, {}).get("visited", set())
        second = self.number in visited
        visited.add(self.number)
        return second

    def add(self, callback: Callable[..., Tensor], **arguments: float) -> None:
        """Add an attention callback. Other packs of IP-Adapter call `add` on whatever patch a site has."""
        self.added = (*self.added, (callback, arguments))


def text_attention(q: Tensor, k: Tensor, v: Tensor, options: OwnOptions, preferred: Any = None) -> Tensor:
    """The attention that ComfyUI computes without a patch: same precision, backend, override and preference."""
    preference = {} if preferred is None else {"preferred_attention": preferred}  # unknown to releases before 0.32
    precision = options["attn_precision"] if "attn_precision" in options else None
    return host_attention.optimized_attention(
        q, k, v, options["n_heads"], attn_precision=precision, transformer_options=options, **preference
    )
