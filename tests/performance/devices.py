"""Model calls on a device whose values nobody can read, which show what a GPU would be waited for.

A GPU works through a queue. The host waits for it to read a value, and to copy what lies in its own memory there. On
torch's meta device, a read is an error unless `Waits` answers it, and a copy has tensors of both devices.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import comfy.model_management
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from test_nodes_pack.counting import HOST_READS

META = torch.device("meta")
name_of = cache(str)  # of an operation: torch spells it anew each time
MOMENTS = (0.9, 0.5)  # parts of the sigma at which a run begins


class Waits(TorchDispatchMode):
    """Notes by name the operations that read a value of the device, answering each with `sigma`, and those that need a
    copy from the host: with tensors of both devices, or with one that no operation gave, made of Python's numbers.

    `known` holds by identity all tensors of this step and of those before it.
    """

    def __init__(self, sigma: float, known: dict[int, Tensor]) -> None:
        super().__init__()
        self.sigma, self.known = sigma, known
        self.reads: list[str] = []
        self.copies: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := name_of(func)) in HOST_READS and args[0].device == META:
            self.reads.append(name)
            return self.sigma
        out = func(*args, **(kwargs or {}))
        # A tensor without axes is a number, which PyTorch hands to the device with the operation.
        given, gives = ([x for x in tree_leaves(some) if isinstance(x, Tensor)] for some in ((args, kwargs), out))
        devices = {x.device for x in given + gives if x.ndim}
        if len(devices) > 1 or (META in devices and any(id(x) not in self.known for x in given)):
            self.copies.append(name)
        self.known.update({id(x): x for x in given + gives})
        return out


def waits_of_steps(model: ModelPatcher, sample: Callable[[ModelPatcher], Any]) -> list[Waits]:
    """What the first model call of a sampling waits for on a device, in two steps with sigmas of their own.

    In the first, every weight of the model counts as a copy.
    """
    x, sigma, inputs = first_call(model, sample)
    given = tree_map_only(Tensor, without_values, (x, sigma, {**inputs, "transformer_options": None}))
    given[2]["transformer_options"] = {**inputs["transformer_options"], "sigmas": given[1]}
    seen, known = [], {}
    with torch.inference_mode(), on_meta([model, *model.model_patches_models()]):
        for moment in MOMENTS:
            with Waits(moment * float(sigma[0]), known) as waits:
                model.model.apply_model(*given[:2], **given[2])
            seen.append(waits)
    return seen


def first_call(model: ModelPatcher, sample: Callable[[ModelPatcher], Any]) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """The latent, the sigmas and the other inputs of the first model call in a sampling."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        call = model.model.apply_model
        patch.setattr(model.model, "apply_model", lambda *x, **more: calls.append((*x, more)) or call(*x, **more))
        sample(model)
    return calls[0]


@contextmanager
def on_meta(patchers: Iterable[ModelPatcher]) -> Iterator[None]:
    """Models whose weights have no values, as long as it is entered."""
    parts = [part for patcher in patchers for part in patcher.model.modules()]
    kept = [(table, dict(table)) for part in parts for table in (part._parameters, part._buffers)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.model_management, "get_free_memory", lambda *_: (2**40, 2**40))
        for patcher in patchers:
            patch.setattr(patcher, "load_device", META)
        try:
            for table, tensors in kept:
                table.update({name: without_values(x) for name, x in tensors.items() if x is not None})
            yield
        finally:
            for table, tensors in kept:
                table.update(tensors)


def without_values(x: Tensor) -> Tensor:
    return nn.Parameter(x.to(META), x.requires_grad) if isinstance(x, nn.Parameter) else x.to(META)
