"""Sample as ComfyUI does where a model is larger than the memory of its device, as with --lowvram and --novram.

On a CPU those flags are refused, and every model fits. So ComfyUI is told how much of each model fits, as it tells
itself on a GPU; and what did not fit is NaN to whoever reads it past ComfyUI's own way to an offloaded weight.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management as memory
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io

Hidden = list[tuple[Any, torch.nn.Parameter]]  # a module, and its weight


class TestLittleMemory(io.ComfyNode):
    """A model that is sampled with only a share of it loaded; 0 as with --novram."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Model.Input("model"), io.Float.Input("share", default=0.0, min=0.0, max=1.0)]
        return io.Schema(node_id="TestLittleMemory", category="testing", inputs=inputs, outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model: Any, share: float) -> io.NodeOutput:
        def sample(executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            with only_loaded(share):
                return executor(*args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "little memory", sample)
        return io.NodeOutput(model)


@contextmanager
def only_loaded(share: float) -> Iterator[None]:
    """Load only a share of every model that ComfyUI loads meanwhile."""
    memory.unload_all_models()
    hidden: Hidden = []
    load = memory.LoadedModel.model_load

    def load_a_share(self: Any, lowvram_model_memory: float = 0, force_patch_weights: bool = False) -> Any:
        fits = max(share * self.model_memory(), 0.1)  # what ComfyUI says where nothing fits
        loaded = load(self, fits, force_patch_weights)  # type: ignore[arg-type]
        hide_offloaded(loaded, hidden)
        return loaded

    memory.LoadedModel.model_load = load_a_share  # type: ignore[method-assign]
    try:
        yield
    finally:
        memory.LoadedModel.model_load = load  # type: ignore[method-assign]
        for module, weight in hidden:
            module.weight = weight
        memory.unload_all_models()


def hide_offloaded(model: torch.nn.Module, hidden: Hidden) -> None:
    """Leave NaN where a weight is offloaded, and the weight to the function that ComfyUI asks for it.

    Raises:
        ValueError: everything was loaded, so that nothing would be tried
    """
    managed: list[Any] = [m for m in model.modules() if hasattr(m, "comfy_cast_weights") and m.weight is not None]
    offloaded = [m for m in managed if not getattr(m, "comfy_patched_weights", False)]
    if not offloaded:
        raise ValueError(f"All of {type(model).__name__} was loaded")
    print(f"{len(offloaded)} of {len(managed)} modules of {type(model).__name__} are offloaded", flush=True)
    for module in offloaded:
        weight = module.weight
        hidden.append((module, weight))
        module.weight = torch.nn.Parameter(torch.full_like(weight, torch.nan), requires_grad=False)
        module.weight_function = [lambda _, weight=weight: weight, *module.weight_function]
