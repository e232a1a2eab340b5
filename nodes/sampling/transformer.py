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
from .call import Decider, ModelCall, acting
from .compiled import AttentionPatch
from .replaced import OwnPatch

Block = Callable[[dict[str, Any]], dict[str, Any]]  # what ComfyUI calls the original block: arguments to outputs
Replacement = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]


def install(clone: ModelPatcher, site: Site, number: int, decider: Decider, prompts: tuple[ImagePrompt, ...]) -> None:
    """Let prompts act in a block of a cloned model, around whatever replaces it already."""
    before = patches_of(clone).get(key_of(site))
    if isinstance(before, BlockPatch):
        patch = before.with_prompts(decider, before.prompts + prompts)
    elif prompts:
        module = block_of(clone, site)
        patch = BlockPatch(site, number, decider, prompts, module, renorms(module), before)
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
    """What replaces blocks of a model, ours and others', by ComfyUI's key."""
    return _replacements(model.model_options["transformer_options"])


def patch_at(options: Mapping[str, Any], site: Site) -> Any:
    """What replaces a block in a model call, from its transformer options; None where nothing does."""
    return _replacements(options).get(key_of(site))


def _replacements(options: Mapping[str, Any]) -> dict[Any, Any]:
    return options.get("patches_replace", {}).get("dit", {})


def replace_patches(clone: ModelPatcher, change: Callable[["BlockPatch"], "BlockPatch"]) -> None:
    """Replace every patch of ours on a cloned model, each by what `change` makes of it."""
    patches = patches_of(clone)
    for key, patch in patches.items():
        if isinstance(patch, BlockPatch):
            patches[key] = change(patch)


def idle_patches(sites: Sequence[Site]) -> tuple[AttentionPatch, ...]:
    """None: blocks without image prompts run as they are."""
    return ()


class BlockPatch(OwnPatch):
    """Replaces one block by itself (or by what replaced it before) with image prompts in it."""

    def __init__(
        self,
        site: Site,
        number: int,
        decider: Decider,
        prompts: tuple[ImagePrompt, ...],
        module: Any,
        renorms: bool,
        before: Replacement | None = None,
    ) -> None:
        self.site, self.number, self.decider, self.prompts = site, number, decider, prompts
        self.module, self.renorms, self.before = module, renorms, before

    # A compiled graph ends before it and goes on behind it: what acts is decided anew in every call, and nothing that
    # tracing reads here may be frozen. The graph looks the patch up in each call's own options.
    @torch.compiler.disable
    def __call__(self, args: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
        self.decider.watch.answer()
        options = args["transformer_options"]
        call = self.decider.call_for(self.prompts, options, len(args["img"]))
        now = acting(self.prompts, self.site, call)
        return self._with(now, call, args, extra) if now else self._block(extra)(args)

    def _block(self, extra: Mapping[str, Any]) -> Block:
        before = self.before
        return extra["original_block"] if before is None else lambda args: before(args, dict(extra))

    def _with(
        self, prompts: Sequence[ImagePrompt], call: ModelCall, args: dict[str, Any], extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        attention = BlockAttention(self, prompts, call, args)
        out = self._block(extra)({**args, "transformer_options": attention.options})
        img = attention.after_block(out["img"])
        if self.number not in call.asked:
            call.without_attention[self.number] = self.before or self.module
        return {**out, "img": img}

    def with_prompts(self, decider: Decider, prompts: tuple[ImagePrompt, ...]) -> "BlockPatch":
        """The same patch in the same place, of other prompts."""
        return BlockPatch(self.site, self.number, decider, prompts, self.module, self.renorms, self.before)

    def copy(self) -> "BlockPatch":
        """A patch object of its own."""
        return self.with_prompts(self.decider, self.prompts)

    def to(self, target: object) -> "BlockPatch":
        """K/V follow the block's queries at every call; a replacement before this one may have something to move."""
        if hasattr(self.before, "to"):
            self.before = self.before.to(target)  # type: ignore[union-attr]
        return self

    def models(self) -> list[Any]:
        """What ComfyUI must load for sampling: adapters only where K/V are computed on the way."""
        inner = self.before.models() if hasattr(self.before, "models") else []  # type: ignore[union-attr]
        return [*inner, *(model for prompt in self.prompts for model in prompt.source.models)]

    def cleanup(self) -> None:
        if hasattr(self.before, "cleanup"):
            self.before.cleanup()  # type: ignore[union-attr]
