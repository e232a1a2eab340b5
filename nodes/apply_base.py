"""The base classes and the output of the apply nodes."""

from typing import ClassVar

from comfy_api.latest import io
from torch import Tensor

from .applying.apply import Applied
from .node import AtelierNode
from .old.names import current_name


class AcceptsRenamed(AtelierNode):
    """Base of every node with a `weight_type`: it validates the name itself, so that old workflows run.

    ComfyUI skips its own check of a list for inputs that `validate_inputs` names. `nodes/guard.py` then hands the
    present name to `run`.
    """

    @classmethod
    def validate_inputs(cls, weight_type: str | None = None) -> bool | str:
        if weight_type is None:  # arrives through a link
            return True
        inputs = {item.id: item for item in cls.define_schema().inputs}
        listed: list[str] = getattr(inputs["weight_type"], "options", [])
        if current_name(weight_type) in listed:
            return True
        return f"{weight_type!r} is not a weight type; choose one of: {', '.join(listed)}"


class ApplyNode(AcceptsRenamed):
    """Base of the apply nodes. A node with `per_frame` uses the first reference for the first frame, and so on."""

    per_frame: ClassVar[bool] = False


class AppliedOutput(io.NodeOutput):
    """The outputs of an apply node: the model, and further outputs of the node.

    `applied` also holds the face crops, for `apply_ipadapter`, which returns them for every node.
    """

    def __init__(self, applied: Applied, *more: Tensor) -> None:
        super().__init__(applied.model, *more)
        self.applied = applied
