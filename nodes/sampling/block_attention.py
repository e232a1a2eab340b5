"""One run of a transformer's block with image prompts: its queries, keys, values and attention, for the mechanisms.

ComfyUI calls an attention override without the block that the attention belongs to. So each block gets a copy of the
transformer options with an override of its own, which holds the block; the options of other blocks do not change.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import comfy.ldm.modules.attention as host_attention
import torch
from torch import Tensor

from ...ipadapter.attention import Attend, ImageTokens
from ...ipadapter.errors import AdapterError
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.mechanisms import Mechanism, Normed
from ...ipadapter.mechanisms.joint_attention import EPS, can_renorm
from ...ipadapter.sites import Site
from ...ipadapter.token_attention import rotate_back, unit_heads
from ..host_types import HostModule, Options, OwnOptions
from .arranged import Grid
from .backend import OVERRIDE, few_tokens, overridden
from .plan import Plan

if TYPE_CHECKING:
    from .transformer import BlockPatch

Acting = Mapping[Mechanism, tuple[ImagePrompt, ...]]  # the prompts that act in a block
QUERIES = "attn1_patch"  # ComfyUI's hook that is called with the queries before their rotation


class BlockAttention:
    """One run of a block, which implements mechanisms.BlockRun.

    Flux rotates queries by a rotary position embedding, but image tokens have no position. So the queries for image
    prompts are those before the rotation: from ComfyUI's hook or, in releases without the hook, rotated back.
    """

    queries: Tensor

    def __init__(self, patch: "BlockPatch", prompts: Acting, plan: Plan, args: Options) -> None:
        # Runs in every block of every step: reading a name twice is cheaper than calling a method.
        self.patch, self.site, self.prompts, self.plan, self.args = patch, patch.site, prompts, plan, args
        self.given: Options = args["transformer_options"]
        apart = "txt" in args  # in a single block of Flux, the text stands in front of the picture
        self.text: int = args["txt"].shape[1] if apart else self.given["img_slice"][0]
        self.tokens: int = args["img"].shape[1] + (self.text if apart else 0)
        self.attend: Attend = few_tokens if OVERRIDE not in self.given else overridden(self.given)
        self.has_queries = False
        self.plain: Tensor | None = None  # the attention's output for the picture without prompts, for an observer
        reads = plan.observer is not None or True in [mechanism.reads_attention for mechanism in prompts]
        self.options: Options = with_hooks(self.given, self.override, self.see_queries) if reads else self.given

    def see_queries(self, q: Tensor, k: Tensor, v: Tensor, **more: object) -> OwnOptions:
        """Store Flux's queries before their rotation; called by ComfyUI's `attn1_patch` hook."""
        self.queries, self.has_queries = q, True
        return {}

    def override(
        self, function: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *args: object,
        skip_reshape: bool = False, transformer_options: object = None, _inside_attn_wrapper: bool = True,
        **kwargs: object,
    ) -> Tensor:  # fmt: skip
        """The block's unchanged attention, plus the image prompts that join it.

        The host calls an override in place of choosing a kernel. So its attention is called here with the block's
        original options, and chooses then.
        """
        host = getattr(host_attention, function.__name__, function)
        out = host(q, k, v, *args, skip_reshape=skip_reshape, transformer_options=self.given, **kwargs)
        if not skip_reshape:
            heads = self.site.heads
            q, k, v = _of_heads(q, heads), _of_heads(k, heads), _of_heads(v, heads)
        if q.shape[2] != self.tokens:
            return out  # the second attention of a block of SD3.5 Medium has no text, and image prompts do not join it
        if not self.has_queries:
            rotation = self.args.get("pe")
            self.queries, self.has_queries = q if rotation is None else rotate_back(q, rotation), True
        if self.plan.observer is not None:
            self.plain = out[:, self.text :]
        for mechanism in self.prompts:
            out = mechanism.in_attention(self, out, q, k, v)
        return out

    def after_block(self, img: Tensor) -> Tensor:
        """The block's output for the picture, `img` (rows, n, channels), plus the image prompts that act behind it."""
        for mechanism in self.prompts:  # first those with queries of their own, which read the block's unchanged output
            if not mechanism.reads_attention:
                img = mechanism.after_block(self, img)
        for mechanism in self.prompts if self.has_queries else ():  # none: another pack replaced the block's attention
            if mechanism.reads_attention:
                img = mechanism.after_block(self, img)
        return img

    def images(self, mechanism: Mechanism, text: int = 0) -> Sequence[ImageTokens]:
        prompts, tokens = self.prompts[mechanism], self.tokens - self.text  # of the picture and its references
        grid = picture_grid(self.plan.call.latent, self.site.patch, prompts, tokens)
        around = (text, tokens - grid[0] * grid[1])
        like = self.queries if self.has_queries else self.args["img"]
        return self.plan.images(self.patch, prompts, grid, like, around)

    def normed(self, q: Tensor, k: Tensor) -> tuple[Normed, Normed]:
        block = self.patch.called_block(self.plan).x_block
        if self.patch.renorms:
            return (q, block.attn.ln_q.weight), (k, block.attn.ln_k.weight)
        return raw_queries_keys(block, self.args["img"], self.args["vec"], self.site.heads)

    def show(self, before: Tensor, after: Tensor) -> None:
        """Show an observer the attention of the picture's own tokens, and what image prompts added to them."""
        if self.plain is not None:
            observe(self.plan, self.site, float(self.given["sigmas"][0]), self.plain, after - before)


def with_hooks(given: Options, override: Callable[..., Tensor], see_queries: Callable[..., OwnOptions]) -> OwnOptions:
    """A block's options with our attention override, which itself calls any override of `given`, and our hook that sees
    the queries behind those of other packs.
    """
    patches = given["patches"] if "patches" in given else {}
    hooks = [*(patches[QUERIES] if QUERIES in patches else ()), see_queries]
    return {**given, OVERRIDE: override, "patches": {**patches, QUERIES: hooks}}


def observe(plan: Plan, site: Site, sigma: float, own: Tensor, added: Tensor) -> None:
    """Show a plan's observer the attention of the picture's own tokens, (rows, n, channels), and the last n tokens of
    what image prompts added; only if the latent's size is known.
    """
    if plan.call.latent is not None:
        tokens = own.shape[1]
        height, width = picture_grid(plan.call.latent, site.patch, (), tokens)
        own, added = (x[:, -tokens:][:, : height * width] for x in (own, added))
        plan.observe(sigma, site, (height, width), own, added)


def picture_grid(latent: tuple[int, int] | None, patch: int, prompts: Sequence[ImagePrompt], tokens: int) -> Grid:
    """Rows and columns of the picture's own tokens; (tokens, 1) if the size of the latent is unknown.

    AdapterError if the size is unknown and a prompt has a mask.
    """
    if latent is not None:
        height, width = latent
        return -(-height // patch), -(-width // patch)
    if any(prompt.mask is not None for prompt in prompts):
        raise AdapterError(
            "A mask needs the size of the picture, and this model was called around ComfyUI's apply_model, "
            "which knows it. Sample with a ComfyUI sampler, or without attn_mask."
        )
    return tokens, 1


def renorms(module: HostModule) -> bool:
    """Whether the weights of `ln_q` and `ln_k` of a joint block can be divided out of its queries and keys.

    True for blocks of other structures, which have no such norms.
    """
    if not hasattr(module, "x_block"):
        return True
    weights = [getattr(norm, "weight", None) for norm in (module.x_block.attn.ln_q, module.x_block.attn.ln_k)]
    return all(weight is not None and can_renorm(weight) for weight in weights)


def raw_queries_keys(block: HostModule, img: Tensor, vec: Tensor, heads: int) -> tuple[Normed, Normed]:
    """Queries and keys of the picture in a joint block, divided by their root mean square, with weights of ones.

    They are computed a second time, for blocks whose norm has a weight that cannot be divided out.
    """
    shift, scale = block.adaLN_modulation(vec)[:, : 2 * img.shape[-1]].unsqueeze(1).chunk(2, dim=-1)
    q, k, _ = block.attn.qkv(block.norm1(img) * (1 + scale) + shift).chunk(3, dim=-1)
    ones = torch.ones(q.shape[-1] // heads, device=q.device)
    queries, keys = ((unit_heads(_of_heads(x, heads), EPS), ones) for x in (q, k))
    return queries, keys


def _of_heads(x: Tensor, heads: int) -> Tensor:
    """(rows, n, channels), or (rows, n, heads, head width), as (rows, heads, n, head width)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)
