"""Image prompts in a diffusion transformer: the patch of a block, which adds theirs to the block's own attention.

A block is replaced by itself with other options: what it shows there of its attention (its queries before their
rotation, where the release of ComfyUI has that hook, and the attention itself) is all that the formulas need.
"""

from collections.abc import Callable, Sequence

import torch
from comfy.model_patcher import ModelPatcher

from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.mechanisms import Mechanism
from ...ipadapter.sites import STRUCTURES, Site
from ..host_types import HostModule, Options, OtherPatch, OwnOptions, Patches
from .block_attention import BlockAttention, renorms
from .hooks import Hooks
from .originals import model_to_sample, original_model
from .patches import KEY, AttentionPatch, OwnPatch

Block = Callable[[OwnOptions], OwnOptions]  # what ComfyUI calls the original block: arguments to outputs


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


def block_of(model: ModelPatcher, site: Site) -> HostModule:
    """The module of a block: the model's own where another pack's stands in its place, which may be of any kind."""
    part, number = site.block
    own, present = (getattr(read(model), f"{part}_blocks")[number] for read in (original_model, model_to_sample))
    return present if hasattr(present, "x_block") == hasattr(own, "x_block") else own


def patches_of(model: ModelPatcher) -> Patches:
    """The replacements of blocks of a model, ours and others', by ComfyUI's key."""
    return _replacements(model.model_options["transformer_options"])


def patch_at(options: Options, site: Site) -> OtherPatch:
    """The replacement of a block in a model call, from its transformer options; None without one."""
    return _replacements(options).get(key_of(site))


def _replacements(options: Options) -> Patches:
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

    module: HostModule  # the block
    renorms: bool  # whether its norms of queries and keys can be divided out of their outputs

    def __call__(self, args: OwnOptions, extra: Options) -> OwnOptions:
        if torch.compiler.is_compiling():
            return self.outside_graph(args, extra)  # pyright: ignore[reportCallIssue]
        return self.run(args, extra)

    # A compiled graph ends before this and goes on after it: which prompts act is decided in every call, so tracing
    # must freeze nothing that is read here. The graph looks the patch up in the options of each call.
    @torch.compiler.disable
    def outside_graph(self, args: OwnOptions, extra: Options) -> OwnOptions:
        """The block, called by a compiled graph."""
        return self.run(args, extra)

    def run(self, args: OwnOptions, extra: Options) -> OwnOptions:
        """The block with the image prompts that act in this model call."""
        options, before = args["transformer_options"], self.before
        block: Block = extra["original_block"] if before is None else lambda args: before(args, dict(extra))
        # Every call counts here, which runs in every block of every step: with a plan at hand, looking it up has none.
        try:
            plan = options[KEY]["plan"]
        except KeyError:
            plan = None
        if plan is None or plan.prompts is not self.hooks.prompts:
            plan = self.hooks.plans.of(self, options, len(args["img"]))
        plan.called = True
        acting: dict[Mechanism, tuple[ImagePrompt, ...]] = {}
        weights, layer = plan.call.weights, self.site.layer
        for prompt in self.prompts:
            if prompt in weights and weights[prompt][layer]:
                mechanism = prompt.mechanism
                acting[mechanism] = (*acting[mechanism], prompt) if mechanism in acting else (prompt,)
        if not acting:
            return block(args)
        attention = BlockAttention(self, acting, plan, args)
        out = block({**args, "transformer_options": attention.options})
        img = attention.after_block(out["img"])
        if self.number not in plan.reached:
            plan.bypassed[self.number] = self.before or self.module
        return {**out, "img": img}
