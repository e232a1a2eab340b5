"""A ControlNet whose cross-attentions read a face's tokens in place of the text's (InstantID, arXiv:2401.07519)."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from comfy.controlnet import ControlBase, ControlNet
from comfy.model_patcher import ModelPatcher
from torch import Tensor
from typing_extensions import Self

from ...ipadapter.image_prompt import Rows
from ...weight_schedules.position import rounded_range
from ..host_types import HostModel, OwnOptions
from .arranged import mask_of_rows
from .rows import read_rows

Outputs = dict[str, list[Tensor | None]]  # part of the UNet -> the residuals that a ControlNet adds there


class FaceControl(ControlBase):
    """A ControlNet whose cross-attentions read `tokens`, (1, t, context) by branch.

    Its outputs are multiplied by `mask` (m, height, width), if there is one. Other ControlNets of the chain read the
    text; ComfyUI's `cross_attn_controlnet` belongs to a conditioning, so that every ControlNet of a chain reads it.
    """

    def __init__(self, net: ControlNet, tokens: Mapping[str, Tensor], mask: Tensor | None = None) -> None:
        super().__init__()
        self.net, self.tokens, self.mask = net, tokens, mask
        self.extra_hooks = net.extra_hooks
        self._made: dict[Hashable, Tensor] = {}  # tokens and masks in the order of rows, on the device, for one run

    def get_control(
        self, x_noisy: Tensor, t: Tensor, cond: OwnOptions, batched_number: int, transformer_options: OwnOptions
    ) -> Outputs | None:
        """The residuals of this ControlNet and of those before it in the chain. Rows of unknown branch get no face."""
        chain: Any = self.previous_controlnet
        before = chain and chain.get_control(x_noisy, t, cond, batched_number, transformer_options)
        rows = read_rows(transformer_options, len(x_noisy))
        if not rows.branches:
            return before
        of_face = {**cond, "crossattn_controlnet": self._tokens_of(rows, x_noisy.device)}
        own = self.net.get_control(x_noisy, t, of_face, batched_number, transformer_options)
        if own is None:
            return before
        return self.control_merge(own if self.mask is None else self._masked(own, rows), before, None)

    def _tokens_of(self, rows: Rows, device: torch.device) -> Tensor:
        """The tokens of every row, (rows, t, context)."""
        key = (rows.branches, rows.frames, device)
        if key not in self._made:
            of_rows = [self.tokens[branch].expand(rows.frames, -1, -1) for branch in rows.branches]
            self._made[key] = torch.cat(of_rows).to(device)
        return self._made[key]

    def _masked(self, outputs: Outputs, rows: Rows) -> Outputs:
        return {
            part: [None if out is None else out * self._mask_of(rows, out) for out in of]
            for part, of in outputs.items()
        }

    def _mask_of(self, rows: Rows, out: Tensor) -> Tensor:
        """The mask in the size of a residual (rows, channels, height, width), (rows or 1, 1, height, width)."""
        grid = out.shape[-2], out.shape[-1]
        key = (rows, grid, out.device, out.dtype)
        if key not in self._made:
            on_grid = mask_of_rows(self.mask, None, rows, grid)
            self._made[key] = on_grid.transpose(1, 2).unflatten(-1, grid).to(out)
        return self._made[key]

    def pre_run(self, model: HostModel, percent_to_timestep_function: Callable[[float], float]) -> None:
        super().pre_run(model, percent_to_timestep_function)
        self.net.pre_run(model, percent_to_timestep_function)
        # ComfyUI compares the bits of sigmas. Both halves of InstantID must begin and end with the same step.
        acting = self.net.timestep_range
        assert acting is not None  # `pre_run` has set it
        self.net.timestep_range = rounded_range(*acting)

    def cleanup(self) -> None:
        super().cleanup()
        self.net.cleanup()
        self._made.clear()

    def get_models(self) -> list[ModelPatcher]:
        return [*super().get_models(), *self.net.get_models()]

    def inference_memory_requirements(self, dtype: torch.dtype) -> int:
        return super().inference_memory_requirements(dtype) + self.net.inference_memory_requirements(dtype)

    def copy(self) -> Self:
        """A copy without the earlier ControlNets of its chain, like `copy` of ComfyUI's own ControlNets."""
        clone = type(self)(self.net.copy(), self.tokens, self.mask)
        self.copy_to(clone)
        return clone

    def deepclone_multigpu(self, load_device: torch.device, autoregister: bool = False) -> Self:
        clone = self.copy()
        clone.net = self.net.deepclone_multigpu(load_device)
        if autoregister:
            self.multigpu_clones[load_device] = clone
        return clone
