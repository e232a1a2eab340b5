"""Image prompts in a diffusion transformer: the patch of a block, which adds theirs to the block's own attention.

A block is replaced by itself with other options: what it shows there of its attention (its queries before their
rotation, where the release of ComfyUI has that hook, and the attention itself) is all that the formulas need.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.sites import STRUCTURES, Site
from .block_attention import BlockAttention, renorms
from .hooks import Hooks
from .patches import AttentionPatch, OwnPatch
from .plan import Plan

Block = Callable[[dict[str, Any]], dict[str, Any]]  # what ComfyUI calls the original block: arguments to outputs
Replacement = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]



def install(clone: ModelPatcher, site: Site, number: int, hooks: Hooks, prompts: tuple[ImagePrompt, ...]) -> None:
    """Let prompts act in a block of a cloned model, around whatever replaces it already."""
    before = patches_of(clone).get(key_of(site))
    if isinstance(before, BlockPatch):
        patch = before.with_prompts(hooks, before.prompts + prompts)
    elif prompts:
        patch = BlockPatch(site, number, hooks, prompts, before)
        patch.module = block_of(clone, site)
        patch.renorms = renorms(patch.module)
    else:
        return
    clone.set_model_patch_replace(patch, "dit", *key_of(site))


def key_of(site: Site) -> tuple[str, int]:
    """ComfyUI's key of a block among the replacements of a transformer's blocks."""
    part, number = site.block
    return next(structure.parts[part] for structure in STRUCTURES if part in structure.parts), number


def block_of(model: ModelPatcher, site: Site) -> Any:
    """The module of a block."""
    part, number = site.block
    return getattr(model.get_model_object("diffusion_model"), f"{part}_blocks")[number]


def patches_of(model: ModelPatcher) -> dict[Any, Any]:
    """The replacements of blocks of a model, ours and others', by ComfyUI's key."""
    return _replacements(model.model_options["transformer_options"])


def patch_at(options: Mapping[str, Any], site: Site) -> Any:
    """The replacement of a block in a model call, from its transformer options; None without one."""
    return _replacements(options).get(key_of(site))


def _replacements(options: Mapping[str, Any]) -> dict[Any, Any]:
    return options.get("patches_replace", {}).get("dit", {})


def replace_patches(clone: ModelPatcher, change: Callable[["BlockPatch"], "BlockPatch"]) -> None:
    """Replace every patch of ours on a cloned model by what `change` makes of it."""
    patches = patches_of(clone)
    for key, patch in patches.items():
        if isinstance(patch, BlockPatch):
            patches[key] = change(patch)


def idle_patches(sites: Sequence[Site], hooks: Hooks) -> tuple[AttentionPatch, ...]:
    """No patches: blocks without image prompts run as they are."""
    return ()


class BlockPatch(OwnPatch):
    """Replaces one block by itself (or by the replacement that was there before) with image prompts in it."""

    module: Any  # the block
    renorms: bool  # whether its norms of queries and keys can be divided out of their outputs

    # A compiled graph ends before this and goes on after it: which prompts act is decided in every call, so tracing
    # must freeze nothing that is read here. The graph looks the patch up in the options of each call.
    @torch.compiler.disable
    def __call__(self, args: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
        options = args["transformer_options"]
        plan = self.hooks.plans.of(self, options, len(args["img"]))
        plan.called = True
        prompts = plan.call.acting(self.prompts, self.site.layer)
        return self._with(prompts, plan, args, extra) if prompts else self._block(extra)(args)

    def _block(self, extra: Mapping[str, Any]) -> Block:
        before = self.before
        return extra["original_block"] if before is None else lambda args: before(args, dict(extra))

    def _with(
        self, prompts: Sequence[ImagePrompt], plan: Plan, args: dict[str, Any], extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        attention = BlockAttention(self, prompts, plan, args)
        out = self._block(extra)({**args, "transformer_options": attention.options})
        img = attention.after_block(out["img"])
        if self.number not in plan.reached:
            plan.bypassed[self.number] = self.before or self.module
        return {**out, "img": img}
