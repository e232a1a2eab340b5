"""What other packs do: create node classes and call them, read their inputs, bring adapters of their own loading."""

import copy
import json
from typing import Any

import comfy.utils
import folder_paths
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy_api.latest import io

import nodes

Adapter = io.Custom("IPADAPTER")
Evidence = io.Custom("TEST_EVIDENCE")
LINKED = ("model", "ipadapter", "image", "clip_vision", "attn_mask", "image_style", "image_composition", "pos_embed")


class TestCall(io.ComfyNode):
    """Creates a node's class, calls a method and gives the first result.

    The call is JSON: keywords, beside which links go by their names; or values in order, among which links are named.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        sockets = [io.AnyType.Input(name, optional=True) for name in (*LINKED, "ipadapter_params")]
        texts = [io.String.Input(name) for name in ("node_id", "method", "call")]
        return io.Schema(
            node_id="TestCall", category="testing", inputs=[*texts, *sockets], outputs=[io.AnyType.Output()]
        )

    @classmethod
    def execute(cls, node_id: str, method: str, call: str, **links: Any) -> io.NodeOutput:
        made = nodes.NODE_CLASS_MAPPINGS[node_id]()  # type: ignore[attr-defined]
        told = json.loads(call)
        if isinstance(told, dict):
            return io.NodeOutput(getattr(made, method)(**told, **links)[0])
        values = [links.get(value, value) if isinstance(value, str) else value for value in told]
        return io.NodeOutput(getattr(made, method)(*values)[0])


class TestListedTypes(io.ComfyNode):
    """The weight types as packs read them off a class."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestListedTypes",
            category="testing",
            inputs=[io.String.Input("node_id")],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, node_id: str) -> io.NodeOutput:
        node = nodes.NODE_CLASS_MAPPINGS[node_id]  # type: ignore[attr-defined]
        listed = node.INPUT_TYPES()["required"]["weight_type"][0]
        return io.NodeOutput(ui={"listed": [name for name in listed if isinstance(name, str)]})


class TestName(io.ComfyNode):
    """A name as a combo gives it to other nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.String.Input("name")]
        return io.Schema(node_id="TestName", category="testing", inputs=inputs, outputs=[io.Combo.Output()])

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(name)


class TestCopiedList:
    """A node of the form that most packs have, which offers the list that it found in our class."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "testing", "show", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        ours = nodes.NODE_CLASS_MAPPINGS["IPAdapterAdvanced"].INPUT_TYPES()["required"]  # type: ignore[attr-defined]
        return {"required": {name: (ours[name][0],) for name in ("weight_type", "combine_embeds")}}

    def show(self, **chosen: str) -> dict[str, Any]:
        return {"ui": {"chosen": list(chosen.values())}}


def register_plain_classes() -> None:
    nodes.NODE_CLASS_MAPPINGS["TestCopiedList"] = TestCopiedList  # type: ignore[attr-defined]


def state_dict_of(file: str) -> dict[str, Any]:
    """An adapter as other packs' loaders keep it: two groups of tensors, and markers."""
    path = folder_paths.get_full_path_or_raise("ipadapter", file)
    groups: dict[str, Any] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in comfy.utils.load_torch_file(path, safe_load=True).items():
        group, name = key.split(".", 1)
        groups[group][name] = value
    return groups | {"faceidplusv2": False, "portraitunnorm": False}


class TestCouple(io.ComfyNode):
    """As attention-couple packs do: a patch of its own in every cross-attention of SD1.5, whatever was there."""

    BLOCKS = [*(("input", n) for n in (1, 2, 4, 5, 7, 8)), ("middle", 0), *(("output", n) for n in range(3, 12))]

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Model.Input("model"), io.Boolean.Input("calls_earlier", default=False)]
        return io.Schema(node_id="TestCouple", category="testing", inputs=inputs, outputs=[io.Model.Output()])

    @classmethod
    def execute(cls, model: Any, calls_earlier: bool) -> io.NodeOutput:
        model = model.clone()
        present = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
        for block in cls.BLOCKS:
            earlier = present.get(block) if calls_earlier else None
            model.set_model_attn2_replace(cls.patch(earlier), *block)
        return io.NodeOutput(model)

    @classmethod
    def patch(cls, earlier: Any) -> Any:
        def couple(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
            if earlier is not None:
                return earlier(q, k, v * 0.5, options)
            return optimized_attention(q, k, v * 0.5, options["n_heads"], transformer_options=options)

        return couple


FORMS = {
    "state dict": lambda state_dict, clip_vision: state_dict,
    "pipeline": lambda state_dict, clip_vision: {
        "clipvision": {"file": "somewhere", "model": clip_vision},
        "ipadapter": {"file": "somewhere", "model": state_dict},
        "insightface": {"provider": None, "model": None},
    },
    "pipeline without faces": lambda state_dict, clip_vision: {
        "clipvision": {"model": clip_vision},
        "ipadapter": {"model": state_dict},
    },
}


class TestForeignAdapter(io.ComfyNode):
    """An adapter as another pack's loader gives it, and what is needed to see later that nobody changed it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestForeignAdapter",
            category="testing",
            inputs=[
                io.Combo.Input("form", options=list(FORMS)),
                io.String.Input("file"),
                io.ClipVision.Input("clip_vision"),
            ],
            outputs=[Adapter.Output(), Evidence.Output()],
        )

    @classmethod
    def execute(cls, form: str, file: str, clip_vision: Any) -> io.NodeOutput:
        state_dict = state_dict_of(file)
        value = FORMS[form](state_dict, clip_vision)
        return io.NodeOutput(value, (value, FORMS[form](copy.deepcopy(state_dict), clip_vision)))


class TestUnchanged(io.ComfyNode):
    """Raises when the foreign adapter is no longer what it was; `after` says when to look."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestUnchanged",
            category="testing",
            inputs=[Evidence.Input("evidence"), io.Latent.Input("after")],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, evidence: Any, after: Any) -> io.NodeOutput:
        if not alike(*evidence):
            raise ValueError("The adapter that came in was changed")
        return io.NodeOutput(ui={"unchanged": [True]})


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.equal(other)
    return one is other or one == other


NODES = [TestCouple, TestCall, TestName, TestListedTypes, TestForeignAdapter, TestUnchanged]
