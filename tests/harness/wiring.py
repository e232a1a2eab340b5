"""Wire any apply node as a user would, to compare two ways to the same picture."""

from typing import Any

from torch import Tensor

from .client import Client, Result
from .graph import Graph, Node
from .sampling import Link, sample

FILES = {"sd15": "ip-adapter_sd15.safetensors", "sdxl shallow": "ip-adapter_sdxl_shallow.safetensors"}


class Wiring:
    """One graph on a server. Required inputs that a test leaves out are added: sources and default values."""

    result: Result  # of the last run

    def __init__(self, server: Client, family: str = "sd15", file: str = "", batch: int = 1) -> None:
        self.server, self.family, self.batch = server, family, batch
        self.graph = Graph()
        self.model: Link = self.graph.add("TestModel", family=family, seed=1)[0]
        self.ipadapter: Link = self.graph.add("IPAdapterModelLoader", ipadapter_file=file or FILES[family])[0]
        self.clip_vision: Link = self.graph.add("TestClipVision", seed=3)[0]

    def image(self, seed: int = 1, **more: Any) -> Link:
        return self.graph.add("TestImage", seed=seed, **more)[0]

    def left_half(self, width: int = 64, height: int = 64) -> Link:
        black = self.graph.add("SolidMask", value=0.0, width=width, height=height)
        white = self.graph.add("SolidMask", value=1.0, width=width // 2, height=height)
        return self.graph.add("MaskComposite", destination=black[0], source=white[0], x=0, y=0, operation="add")[0]

    def add(self, node_id: str, **inputs: Any) -> Node:
        """A node with the given inputs, and defaults for the other required ones; None leaves an input out."""
        wanted: dict[str, dict[str, list[Any]]] = self.server.call(f"/object_info/{node_id}")[node_id]["input"]
        filled = {name: self.default(name, spec) for name, spec in wanted["required"].items() if name not in inputs}
        if "clip_vision" in wanted.get("optional", {}):
            filled["clip_vision"] = self.clip_vision
        return self.graph.add(node_id, **{k: v for k, v in (filled | inputs).items() if v is not None})

    def default(self, name: str, spec: list[Any]) -> Any:
        if name in ("model", "ipadapter", "clip_vision"):
            return getattr(self, name)
        if name.startswith("image"):
            return self.image()
        kind, options = spec[0], spec[1] if len(spec) > 1 else {}
        return options.get("default", kind[0] if isinstance(kind, list) else None)

    def chain(self, *steps: dict[str, Any], node_id: str = "IPAdapterAdvanced") -> Link:
        """The model after one such node per step."""
        model = self.model
        for inputs in steps:
            model = self.add(node_id, model=model, **inputs)[0]
        return model

    def latents(self, steps: int = 1, **models: Link) -> dict[str, Tensor]:
        """The latent of each model, and as `bare` that of the model without image prompts."""
        for name, model in (models | {"bare": self.model}).items():
            latent = sample(self.graph, model, self.family, batch=self.batch, steps=steps)
            self.graph.save(name, latent[0])
        result = self.result = self.server.run(self.graph)
        return {name: result.tensor(name) for name in (*models, "bare")}

    def same(self, one: Link, other: Link, steps: int = 1) -> None:
        """Both models sample the same bits, and other bits than the model without image prompts."""
        latents = self.latents(steps, one=one, other=other)
        assert not latents["one"].equal(latents["bare"])
        assert latents["one"].equal(latents["other"]), (latents["one"] - latents["other"]).abs().max()
