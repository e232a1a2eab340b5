"""Linear layers as quantised formats (GGUF and its like) keep them, for tests."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Linear, Module, Parameter
from torch.nn.functional import linear


class Packed(Linear):
    """Two 4-bit weights a byte, as quantised formats keep them: only in_features tells the true width."""

    def __init__(self, plain: Linear) -> None:
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None, device="meta")
        self.bias = plain.bias
        self.scale = plain.weight.detach().abs().amax() / 7
        levels = (plain.weight.detach() / self.scale).round().clamp(-7, 7).to(torch.int8) + 8
        packed = (levels[:, 0::2] | levels[:, 1::2] << 4).to(torch.uint8)
        self.weight = Parameter(packed, requires_grad=False)

    def unpacked(self, like: Tensor) -> Tensor:
        """The weight that it computes with, in the type of `like`."""
        halves = torch.stack([self.weight & 15, self.weight >> 4], dim=-1).flatten(1)
        return (halves.to(like.dtype) - 8) * self.scale

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.unpacked(input), self.bias)


def pack_linears(module: Module) -> None:
    """Pack every Linear in a module."""
    change_linears(module, Packed)


def change_linears(module: Module, change: Callable[[Linear], Module]) -> None:
    """Put in the place of every Linear in a module what `change` makes of it."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear):
                setattr(parent, name, change(child))
