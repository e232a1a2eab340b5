"""Image prompts in a diffusion transformer: the patch of a block, which adds the attention to image tokens.

The patch runs the unchanged block with other transformer options. The hooks in these options get the block's attention
and, if this release of ComfyUI has the hook, its queries before their rotation; the formulas need no more.
"""

from collections.abc import Callable, Sequence

import torch
from comfy.model_patcher import ModelPatcher

from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.mechanisms import Mechanism
from ...ipadapter.sites import STRUCTURES, Site
from ..host_types import HostModule, Options, OtherPatch, OwnOptions
from .block_attention import BlockAttention, renorms
from .hooks import Hooks
from .originals import model_to_sample, original_model
from .patches import KEY, AttentionPatch, OwnPatch, replacements
from .plan import Plan

MMDIT = "comfy.ldm.modules.diffusionmodules.mmdit"  # ComfyUI's module of SD3.5
Block = Callable[[OwnOptions], OwnOptions]  # what ComfyUI calls the original block: arguments to outputs


def install(clone: ModelPatcher, site: Site, number: int, hooks: Hooks, prompts: tuple[ImagePrompt, ...]) -> None:
    """Set our patch on a block of a cloned model. If another pack has replaced the block, the patch calls its
    replacement.
    """
    before = patch_at(clone.model_options["transformer_options"], site)
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
    """ComfyUI's key of a block in `patches_replace["dit"]`."""
    part, number = site.block
    return next(structure.parts[part] for structure in STRUCTURES if part in structure.parts), number


def block_of(model: ModelPatcher, site: Site) -> HostModule:
    """The model's own module of a block, also if another pack has replaced it by a module of any class."""
    part, number = site.block
    own, present = (getattr(read(model), f"{part}_blocks")[number] for read in (original_model, model_to_sample))
    return present if hasattr(present, "x_block") == hasattr(own, "x_block") else own


def patch_at(options: Options, site: Site) -> OtherPatch:
    """The replacement of a block in the transformer options of a model call; None if there is none."""
    return replacements(options, "dit").get(key_of(site))


def replace_patches(clone: ModelPatcher, change: Callable[["BlockPatch"], "BlockPatch"]) -> None:
    """Replace every patch of ours on a cloned model by `change(patch)`."""
    patches = replacements(clone.model_options["transformer_options"], "dit")
    for key, patch in patches.items():
        if isinstance(patch, BlockPatch):
            patches[key] = change(patch)


def idle_patches(sites: Sequence[Site], hooks: Hooks) -> tuple[AttentionPatch, ...]:
    """No patches: every set of replaced blocks has a compiled graph of its own (`compiled.graph_keyword`)."""
    return ()


class BlockPatch(OwnPatch):
    """Replaces one block: runs the block, or the earlier replacement, and adds image prompts to it."""

    module: HostModule  # the block
    renorms: bool  # whether the weights of its norms of queries and keys can be divided out of their outputs

    def __call__(self, args: OwnOptions, extra: Options) -> OwnOptions:
        if torch.compiler.is_compiling():
            return self.outside_graph(args, extra)  # pyright: ignore[reportCallIssue]
        return self.run(args, extra)

    # A graph break: every call decides which prompts act, so values that are read here must not become constants of a
    # compiled graph. The graph looks the patch up in the options of each call.
    @torch.compiler.disable
    def outside_graph(self, args: OwnOptions, extra: Options) -> OwnOptions:
        """The block with image prompts, run by Python between two parts of a compiled graph."""
        return self.run(args, extra)

    def run(self, args: OwnOptions, extra: Options) -> OwnOptions:
        """The block with the image prompts that act in this model call."""
        options = args["transformer_options"]
        # Runs in every block of every step, so the usual case, a plan in the options, needs no function call.
        try:
            plan = options[KEY]["plan"]
        except KeyError:
            plan = None
        if plan is None or plan.prompts is not self.hooks.prompts:
            plan = self.hooks.plans.of(self, options, len(args["img"]))
        if not plan.called:
            plan.begin()
        acting: dict[Mechanism, tuple[ImagePrompt, ...]] = {}
        weights, layer = plan.call.weights, self.site.layer
        for prompt in self.prompts:
            if prompt in weights and weights[prompt][layer]:
                mechanism = prompt.mechanism
                acting[mechanism] = (*acting[mechanism], prompt) if mechanism in acting else (prompt,)
        block = self._block(plan, extra)
        if not acting:
            return block(args)
        attention = BlockAttention(self, acting, plan, args)
        out = block({**args, "transformer_options": attention.options})
        img = attention.after_block(out["img"])
        if self.number not in plan.reached:
            plan.bypassed[self.number] = self.before or self.module
        return {**out, "img": img}

    def called_block(self, plan: Plan) -> HostModule:
        """The block of the called copy of the model (one per GPU); the patched one if a pack replaced it there."""
        part, number = self.site.block
        called = getattr(plan.model.diffusion_model, f"{part}_blocks")[number] if plan.model is not None else None
        return called if hasattr(called, "x_block") else self.module

    def _block(self, plan: Plan, extra: Options) -> Block:
        """The earlier replacement of the block, or the block.

        For replaced blocks of SD3.5, ComfyUI calls torch's checkpoint, which computes a block again where a sampler
        needs gradients, and takes a third of the host's time for a block. Other blocks are called without; so here.
        """
        before, given = self.before, extra["original_block"]
        if before is not None:
            return lambda args: before(args, dict(extra))
        if plan.model is None or given.__module__ != MMDIT:
            return given
        module = plan.model.diffusion_model.joint_blocks[self.site.block[1]]

        def block(args: OwnOptions) -> OwnOptions:
            options = {"transformer_options": args["transformer_options"], "use_checkpoint": False}
            txt, img = module(args["txt"], args["img"], c=args["vec"], **options)
            return {"txt": txt, "img": img}

        return block
