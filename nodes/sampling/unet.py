"""Image prompts in a UNet: the patch of a cross-attention, which adds theirs to the attention to the text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.ldm.modules.attention as host_attention
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.attention import decoupled_attention
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.sites import Site
from .backend import attend_of
from .call import Decider, ModelCall
from .compiled import AttentionPatch
from .rows import KEY

Patch = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


def install(clone: ModelPatcher, site: Site, number: int, decider: Decider, prompts: tuple[ImagePrompt, ...]) -> None:
    """Let prompts act in a site of a cloned model, beside whatever patch its cross-attention has already."""
    present = patches_of(clone)
    before = patch_at(clone.model_options["transformer_options"], site)
    if isinstance(before, ImagePromptPatch):
        patch = ImagePromptPatch(site, number, decider, before.prompts + prompts, before.before, before.added)
    elif prompts:
        patch = ImagePromptPatch(site, number, decider, prompts, before)
    else:
        return
    # Other packs use two-part keys where a block has one layer.
    own_position = site.depth > 1 or site.address in present
    clone.set_model_attn2_replace(patch, *site.block, site.position if own_position else None)


def patches_of(model: ModelPatcher) -> dict[Any, Any]:
    """The patches that replace cross-attentions of a model, ours and others', by ComfyUI's address."""
    return _replacements(model.model_options["transformer_options"])


def patch_at(options: Mapping[str, Any], site: Site) -> Any:
    """What replaces a cross-attention in a model call, from its transformer options; None where nothing does."""
    patches = _replacements(options)
    return patches.get(site.address, patches.get(site.block))


def _replacements(options: Mapping[str, Any]) -> dict[Any, Any]:
    return options.get("patches_replace", {}).get("attn2", {})


def replace_patches(clone: ModelPatcher, change: Callable[["ImagePromptPatch"], "ImagePromptPatch"]) -> None:
    """Replace every patch of ours on a cloned model, each by what `change` makes of it."""
    patches = patches_of(clone)
    for address, patch in patches.items():
        if isinstance(patch, ImagePromptPatch):
            patches[address] = change(patch)


def idle_patches(sites: Sequence[Site]) -> tuple["TextAttention", ...]:
    """A patch for every site that leaves the attention to the text as it is."""
    return tuple(TextAttention(site, number) for number, site in enumerate(sites))


class TextAttention(AttentionPatch):
    """Stands in a compiled graph where no image prompt reaches, so that one graph serves all weights."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        return text_attention(q, k, v, options)


class ImagePromptPatch(AttentionPatch):
    """Replaces one cross-attention: the text attention (or whatever patch was there before) plus the attention of
    every image prompt.
    """

    def __init__(
        self,
        site: Site,
        number: int,
        decider: Decider,
        prompts: tuple[ImagePrompt, ...],
        before: Patch | None = None,
        added: tuple[tuple[Callable[..., Tensor], dict[str, Any]], ...] = (),
    ) -> None:
        super().__init__(site, number)
        self.decider, self.prompts, self.before, self.added = decider, prompts, before, added

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        """The text attention plus that of the image prompts, as decided for this model call."""
        out = self.before(q, k, v, options) if self.before is not None else text_attention(q, k, v, options)
        grid = tuple(options["activations_shape"][-2:])
        call = self.decider.call_for(self.prompts, options, len(q))
        if q.shape[1] == grid[0] * grid[1] and not self._along_frames(call):
            images = self.decider.images(self.prompts, self.site, self.number, call, grid, q)
            text, out = out, decoupled_attention(out, q, images, attend_of(options))
            if observer := options.get(KEY, {}).get("observer"):
                observer.see(float(options["sigmas"][0]), self.site, grid, call, text, out - text)
        for callback, arguments in self.added:
            if arguments["sigma_end"] <= float(options["sigmas"][0]) <= arguments["sigma_start"]:
                out = out + callback(out, q, k, v, options, **arguments)
        return out

    def _along_frames(self, call: ModelCall) -> bool:
        """Whether this is the attention along the frames of a video model, which has no image to look at: where a level
        has as many tokens as there are frames, only that it comes second tells it from that of a frame.
        """
        return self.site.along_frames and self.number in call.asked

    def add(self, callback: Callable[..., Tensor], **arguments: Any) -> None:
        """Stack another pack's attention callback, in the way such packs call it on whatever patch they find."""
        self.added = (*self.added, (callback, arguments))

    def with_prompts(self, decider: Decider, prompts: tuple[ImagePrompt, ...]) -> "ImagePromptPatch":
        """The same patch in the same place, of other prompts."""
        return ImagePromptPatch(self.site, self.number, decider, prompts, self.before, self.added)

    def copy(self) -> "ImagePromptPatch":
        """A patch object of its own, for packs that call `add` on what they find."""
        return self.with_prompts(self.decider, self.prompts)

    def to(self, target: object) -> "ImagePromptPatch":
        """K/V follow q at every call, so there is nothing to move; a patch before this one may have something."""
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


def text_attention(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
    """The attention that ComfyUI itself computes where no patch is, with its precision, backend and overrides."""
    return host_attention.optimized_attention(
        q, k, v, options["n_heads"], attn_precision=options.get("attn_precision"), transformer_options=options
    )
