"""Build graphs in ComfyUI's API format.

g = Graph()
m = g.add("TestModel", family="sd15", seed=1)
g.add("KSampler", model=m[0], ...)
"""

from typing import Any

Link = list[Any]  # a node's id and the number of its output


class Node:
    """A node of a graph; `node[i]` is the link to its output i."""

    def __init__(self, id: str, entry: dict[str, Any]) -> None:
        self.id = id
        self.entry = entry

    def __getitem__(self, output: int) -> list[Any]:
        return [self.id, output]

    def set(self, **inputs: Any) -> None:
        """Change inputs; the id stays, so ComfyUI re-runs only what depends on them."""
        self.entry["inputs"].update(inputs)


class Graph:
    def __init__(self) -> None:
        self.prompt: dict[str, dict[str, Any]] = {}

    def add(self, class_type: str, **inputs: Any) -> Node:
        id = str(len(self.prompt) + 1)
        self.prompt[id] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}
        return Node(id, self.prompt[id])

    def change(self, class_type: str, **inputs: Any) -> None:
        """Change inputs of every node of a type."""
        for entry in self.prompt.values():
            if entry["class_type"] == class_type:
                entry["inputs"].update(inputs)

    def save(self, name: str, value: list[Any]) -> Node:
        """Keep a tensor, LATENT or image for `Result.tensor(name)`."""
        return self.add("TestSaveTensor", value=value, name=name)
