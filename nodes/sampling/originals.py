"""Read a model's own modules where another pack has replaced some of them by ComfyUI's object patches.

ComfyUI sets object patches on the model that all clones share, and removes them only when it samples another clone.
Until then, clones without that pack's patches also contain the pack's modules.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy

import comfy.utils
from comfy.model_patcher import ModelPatcher
from torch import nn

from ...ipadapter.errors import AdapterError
from ...ipadapter.sites import Site
from ..host_types import HostModule, Options

_ROOT = "diffusion_model"
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out")  # ComfyUI's block calls these around a patch of its attention


def original_model(model: ModelPatcher) -> HostModule:
    """The diffusion model with the modules that it was loaded with, without any object patch; for reading only."""
    return _with_modules(model.get_model_object(_ROOT), _below_root(model.object_patches_backup))


def model_to_sample(model: ModelPatcher) -> HostModule:
    """The diffusion model with the modules that it has while this clone samples, object patches included; for reading
    only.
    """
    return _with_modules(original_model(model), _below_root(model.object_patches))


@contextmanager
def originals_in_place(model: ModelPatcher) -> Iterator[None]:
    """A context in which the shared model has the modules that it was loaded with; then other packs' are put back.

    ComfyUI's code for LoRAs reads the names of weights from the shared model's state dict.
    """
    originals = {path: module for path, module in model.object_patches_backup.items() if isinstance(module, nn.Module)}
    present = [(path, comfy.utils.get_attr(model.model, path)) for path in originals]
    for path, module in originals.items():
        comfy.utils.set_attr(model.model, path, module)
    try:
        yield
    finally:
        for path, module in reversed(present):
            comfy.utils.set_attr(model.model, path, module)


def lacking(model: ModelPatcher, weights: Iterable[str]) -> list[str]:
    """The classes of other packs' modules in this clone that lack some of these weights of the model, by name."""
    found = set()
    for path, module in _below_root(model.object_patches).items():
        start, has = f"{_ROOT}.{path}.", module.state_dict().keys()
        if any(name.startswith(start) and name.removeprefix(start) not in has for name in weights):
            found.add(f"{type(module).__module__}.{type(module).__qualname__}")
    return sorted(found)


def replaced_modules(model: ModelPatcher, site: Site) -> Iterator[nn.Module]:
    """Another pack's modules that replace a site's block, a module around the block, or a module in the block."""
    for path, module in _below_root(model.object_patches).items():
        if f"{path}.".startswith(f"{site.path}.") or f"{site.path}.".startswith(f"{path}."):
            yield module


def refuse_replaced_projections(model: ModelPatcher, sites: Sequence[Site], attention: str = "attn2") -> None:
    """AdapterError if an object patch replaces a site's attention by a module that lacks PROJECTIONS.

    `attention` is "attn2" for cross-attentions, "attn1" for self-attentions.
    """
    for path, module in _below_root(model.object_patches).items():
        missing = [name for name in PROJECTIONS if not hasattr(module, name)]
        ends = (f"blocks.{site.position}.{attention}" for site in sites if path.startswith(f"{site.path}."))
        if missing and any(path.endswith(end) for end in ends):
            raise AdapterError(
                f"Another node replaced the model's {_ROOT}.{path} by a {type(module).__module__}."
                f"{type(module).__qualname__}, which has no {', '.join(missing)}, so neither image prompts nor "
                "references can act there. Take that node out of this workflow, or apply the IPAdapter nodes to a "
                "model without it."
            )


def _below_root(patches: Options) -> dict[str, nn.Module]:
    """The object patches that are modules, by their path in the diffusion model."""
    start = f"{_ROOT}."
    return {
        path.removeprefix(start): module
        for path, module in patches.items()
        if path.startswith(start) and isinstance(module, nn.Module)
    }


def _with_modules(module: HostModule, modules: Mapping[str, nn.Module]) -> HostModule:
    """A copy of a module with other modules at some paths. Only the modules on such a path are copied."""
    if not modules:
        return module
    copied = copy(getattr(module, "_orig_mod", module))  # torch.compile wraps the module that has the submodules
    copied._modules = dict(copied._modules)
    for name in {path.partition(".")[0]: None for path in modules}:
        below = {path.removeprefix(f"{name}."): m for path, m in modules.items() if path.startswith(f"{name}.")}
        copied._modules[name] = _with_modules(modules.get(name, copied._modules.get(name)), below)
    return copied
