"""Read a model's own modules where another pack has replaced some of them by ComfyUI's object patches.

Object patches are set on the model that all clones share, and ComfyUI takes them off only when it samples another
clone. Until then a graph without that pack finds the pack's modules in the model.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy

from comfy.model_patcher import ModelPatcher
from torch import nn

from ...ipadapter.errors import AdapterError
from ...ipadapter.sites import Site
from ..host_types import HostModule, Options

_ROOT = "diffusion_model"
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out")  # what ComfyUI's block calls around a patch of its cross-attention


def original_model(model: ModelPatcher) -> HostModule:
    """A model's diffusion model with the modules that it was loaded with, to be read only."""
    return _with_modules(model.get_model_object(_ROOT), _below_root(model.object_patches_backup))


def model_to_sample(model: ModelPatcher) -> HostModule:
    """A model's diffusion model with the modules that it has when this clone of it samples, to be read only."""
    return _with_modules(original_model(model), _below_root(model.object_patches))


def replaced_modules(model: ModelPatcher, site: Site) -> Iterator[nn.Module]:
    """Another pack's modules in place of a site's block, of what contains it, or of a part of it."""
    for path, module in _below_root(model.object_patches).items():
        if f"{path}.".startswith(f"{site.path}.") or f"{site.path}.".startswith(f"{path}."):
            yield module


def refuse_replaced_projections(model: ModelPatcher, sites: Sequence[Site]) -> None:
    """AdapterError if an object patch has put an attention without PROJECTIONS in place of a site's cross-attention."""
    for path, module in _below_root(model.object_patches).items():
        missing = [name for name in PROJECTIONS if not hasattr(module, name)]
        ours = (path.startswith(f"{site.path}.") and path.endswith(f"blocks.{site.position}.attn2") for site in sites)
        if missing and any(ours):
            raise AdapterError(
                f"Another node replaced the model's {_ROOT}.{path} by a {type(module).__module__}."
                f"{type(module).__qualname__}, which has no {', '.join(missing)}, so no image prompt can act there. "
                "Take that node out of this workflow, or apply the IPAdapter nodes to a model without it."
            )


def _below_root(patches: Options) -> dict[str, nn.Module]:
    """The modules among object patches, by their path in the diffusion model."""
    start = f"{_ROOT}."
    return {
        path.removeprefix(start): module
        for path, module in patches.items()
        if path.startswith(start) and isinstance(module, nn.Module)
    }


def _with_modules(module: HostModule, modules: Mapping[str, nn.Module]) -> HostModule:
    """A module with other modules at some paths in it. Only what contains such a path is copied; `module` stays."""
    if not modules:
        return module
    copied = copy(getattr(module, "_orig_mod", module))  # a compiled model shows the modules of its original
    copied._modules = dict(copied._modules)
    for name in {path.partition(".")[0]: None for path in modules}:
        below = {path.removeprefix(f"{name}."): m for path, m in modules.items() if path.startswith(f"{name}.")}
        copied._modules[name] = _with_modules(modules.get(name, copied._modules.get(name)), below)
    return copied
