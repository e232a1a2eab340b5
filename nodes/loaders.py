"""Load an adapter from its file."""

from collections.abc import Hashable

from comfy_api.latest import io

from . import inputs
from .loading.adapters import load_adapter
from .loading.files import adapter_files, adapter_path, check_name, fingerprint_of
from .old.methods import LoadAdapterMethod


class IPAdapterModelLoader(LoadAdapterMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = (
            "A file in models/ipadapter, or in a folder where another pack keeps adapters. What it is and which "
            "encoder it needs is read from its tensors, whatever its name."
        )
        return io.Schema(
            node_id="IPAdapterModelLoader",
            display_name="IPAdapter Model Loader",
            category="ipadapter/loaders",
            description="Loads an IP-Adapter: the weights that let a picture act as a prompt.",
            inputs=[inputs.Choice("ipadapter_file", options=adapter_files(), tooltip=tip)],
            outputs=[inputs.IPAdapterType.Output(display_name="IPADAPTER", tooltip="The adapter, for any apply node.")],
        )

    @classmethod
    def run(cls, ipadapter_file: str) -> io.NodeOutput:
        return io.NodeOutput(load_adapter(adapter_path(ipadapter_file)))

    @classmethod
    def validate_inputs(cls, ipadapter_file: str | None = None) -> bool | str:
        return check_name(adapter_path, ipadapter_file)

    @classmethod
    def fingerprint_inputs(cls, ipadapter_file: str | None = None) -> Hashable:
        return fingerprint_of(adapter_path, ipadapter_file)


NODES: list[type[io.ComfyNode]] = [IPAdapterModelLoader]
