"""Download models from inside a workflow: only when it runs, and only with the node's switch on."""

import time

from comfy_api.latest import io, ui

from ..ipadapter.families import FAMILIES
from ..ipadapter.presets import PRESETS
from ..model_files.errors import DownloadError
from . import inputs
from .loading.downloads import Order, family_of, fetch_all, look_at, order_from, order_of
from .node import AtelierNode
from .notices import say_on_node

BY_REPOSITORY = "a file of a repository"
FAMILY_TITLES = {family.title: name for name, family in FAMILIES.items() if family.presets}
FOLDERS = ("ipadapter", "clip_vision", "loras")
PAGE_NOTE = "Press R in the page to see new files in the lists."


class IPAdapterModelDownload(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        preset_tip = (
            "A preset of the unified loaders: its missing files (adapter, encoder, face pack) are downloaded, each "
            "only once."
        )
        family_tip = "Family of the models, for presets that exist for several."
        repository_tip = "Owner/name on huggingface.co (or HF_ENDPOINT). A token is taken from HF_TOKEN or a login."
        file_tip = "Its path in the repository. Only .safetensors, and .bin files that this pack knows."
        folder_tip = "Folder of the file. Files that this pack knows go into the right folder by themselves."
        switch_tip = "Off: the report lists the files to download. On: they are downloaded when this node runs."
        return io.Schema(
            node_id="IPAdapterModelDownload",
            display_name="IPAdapter Model Download",
            category="ipadapter/models",
            description=(
                "Fetches the files of a preset, or one of a repository, into the right model folder: continued where "
                "it stopped, checked before it appears under its name, and never outside the model folders."
            ),
            search_aliases=["hf download", "huggingface download", "download models", "model not found"],
            is_output_node=True,
            inputs=[
                inputs.Choice("preset", options=[*PRESETS, BY_REPOSITORY], default="PLUS (high strength)",
                              tooltip=preset_tip),
                inputs.Choice("family", options=list(FAMILY_TITLES), tooltip=family_tip),
                io.Boolean.Input("download", default=False, tooltip=switch_tip),
                io.String.Input("repository", default="", optional=True, advanced=True, tooltip=repository_tip),
                io.String.Input("file", default="", optional=True, advanced=True, tooltip=file_tip),
                inputs.Choice("folder", options=list(FOLDERS), optional=True, advanced=True, tooltip=folder_tip),
            ],
            outputs=[
                io.String.Output(display_name="path", tooltip="Paths of the files, one per line."),
                io.String.Output(display_name="report", tooltip="The files that were downloaded, or are to be."),
            ],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> float:
        return time.time()  # files come and go without any input changing

    @classmethod
    def run(
        cls, preset: str, family: str, download: bool, repository: str = "", file: str = "", folder: str = FOLDERS[0]
    ) -> io.NodeOutput:
        if preset == BY_REPOSITORY:
            order = order_from(repository, file, folder)
            paths = [str(path) for path in fetch_all([order])] if download else []
            return _said(paths, [order], download)
        family = family_of(preset, FAMILY_TITLES[family])
        orders = [order_of(missing) for missing in look_at(preset, family).missing]
        fetched = [str(path) for path in (fetch_all(orders) if download else [])]
        found = look_at(preset, family)
        if download and not found.runs:
            raise DownloadError(f"All files were downloaded, and the preset does not run yet: {found.why}")
        if not orders and not found.runs:
            raise DownloadError(f"No file is missing, and the preset does not run: {found.why}")
        return _said([str(path) for path in found.files] or fetched, orders, download)


def _said(paths: list[str], orders: list[Order], download: bool) -> io.NodeOutput:
    lines = [f"{wanted.name} from {wanted.page}, into {folder}" for wanted, folder in orders]
    if not orders:
        report = "Everything is there already."
    elif download:
        report = "\n".join(["Fetched:", *lines, PAGE_NOTE])
    else:
        report = "\n".join(["Turn download on to fetch:", *lines])
    say_on_node(report)
    return io.NodeOutput("\n".join(paths), report, ui=ui.PreviewText(report))


NODES: list[type[io.ComfyNode]] = [IPAdapterModelDownload]
