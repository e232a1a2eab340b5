"""Load InstantID's adapter and the face pack of its training."""

from collections.abc import Hashable

from comfy_api.latest import io

from . import inputs
from .face_loader import provider_input
from .instantid_inputs import CATEGORY, TERMS
from .loading.adapters import load_adapter
from .loading.face_packs import fingerprint_of_packs, load_face_models
from .loading.files import check_name, fingerprint_of
from .loading.instantid import FACE_PACK, instantid_files, instantid_path
from .node import AtelierNode


class InstantIDModelLoader(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = "A file in models/instantid: ip-adapter.bin of InstantX/InstantID, or a copy of it."
        return io.Schema(
            node_id="InstantIDModelLoader",
            display_name="Load InstantID Model",
            category=CATEGORY,
            description="Loads InstantID's adapter, which lets a face act as a prompt: for research, say its authors.",
            search_aliases=TERMS,
            inputs=[inputs.Choice("instantid_file", options=sorted(instantid_files()), tooltip=tip)],
            outputs=[
                inputs.InstantIDType.Output(display_name="INSTANTID", tooltip="The adapter, for Apply InstantID.")
            ],
        )

    @classmethod
    def run(cls, instantid_file: str) -> io.NodeOutput:
        return io.NodeOutput(load_adapter(instantid_path(instantid_file)))

    @classmethod
    def validate_inputs(cls, instantid_file: str | None = None) -> bool | str:
        return check_name(instantid_path, instantid_file)

    @classmethod
    def fingerprint_inputs(cls, instantid_file: str | None = None) -> Hashable:
        return fingerprint_of(instantid_path, instantid_file)


class InstantIDFaceAnalysis(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InstantIDFaceAnalysis",
            display_name="InstantID Face Analysis",
            category=CATEGORY,
            description="Loads antelopev2, the face pack of InstantID's training: for non-commercial research only.",
            search_aliases=TERMS,
            inputs=[provider_input()],
            outputs=[
                inputs.FaceAnalysisType.Output(display_name="FACEANALYSIS", tooltip="Face detector and recogniser.")
            ],
        )

    @classmethod
    def run(cls, provider: str) -> io.NodeOutput:
        return io.NodeOutput(load_face_models(provider, FACE_PACK))

    @classmethod
    def fingerprint_inputs(cls, **_: str) -> Hashable:
        return fingerprint_of_packs()


NODES: list[type[io.ComfyNode]] = [InstantIDModelLoader, InstantIDFaceAnalysis]
