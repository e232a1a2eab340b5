"""The loaders of PuLID's files, for SDXL and for Flux; pulid.py and pulid_flux.py list them as nodes."""

from collections.abc import Hashable
from typing import ClassVar

from comfy_api.latest import io

from . import inputs
from .applying.pulid import FACE_PACK
from .face_loader import provider_input
from .loading.face_packs import fingerprint_of_packs, load_face_models
from .loading.files import check_name, fingerprint_of
from .loading.pulid import fingerprint_of_eva, load_eva, load_pulid, pulid_files, pulid_path
from .node import AtelierNode

PulidType = io.Custom("PULID")
PulidFluxType = io.Custom("PULIDFLUX")
EvaClipType = io.Custom("EVA_CLIP")


def loader_schema(node_id: str, display_name: str, versions: str, output: io.Output) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        display_name=display_name,
        category="pulid",
        description=f"Loads a PuLID for {versions}. What the file is, is read from its tensors.",
        search_aliases=["pulid", "identity", "same person"],
        inputs=[inputs.Choice("pulid_file", options=pulid_files(), tooltip="A file in models/pulid.")],
        outputs=[output],
    )


class ModelLoader(AtelierNode):
    """Base of both loaders of adapters. No node is the base of another: ComfyUI stores a schema on a node's class."""

    flux: ClassVar[bool]  # whether PuLID for Flux is loaded

    @classmethod
    def run(cls, pulid_file: str) -> io.NodeOutput:
        return io.NodeOutput(load_pulid(pulid_file, cls.flux))

    @classmethod
    def validate_inputs(cls, pulid_file: str | None = None) -> bool | str:
        return check_name(pulid_path, pulid_file)

    @classmethod
    def fingerprint_inputs(cls, pulid_file: str | None = None) -> Hashable:
        return fingerprint_of(pulid_path, pulid_file)


class PulidModelLoader(ModelLoader):
    flux = False

    @classmethod
    def define_schema(cls) -> io.Schema:
        output = PulidType.Output(display_name="PULID", tooltip="The PuLID, for Apply PuLID.")
        return loader_schema("PulidModelLoader", "Load PuLID Model", "SDXL: version 1 or 1.1", output)


class PulidFluxModelLoader(ModelLoader):
    flux = True

    @classmethod
    def define_schema(cls) -> io.Schema:
        output = PulidFluxType.Output(display_name="PULIDFLUX", tooltip="The PuLID, for Apply PuLID Flux.")
        return loader_schema("PulidFluxModelLoader", "Load PuLID Flux Model", "Flux: version 0.9.0 or 0.9.1", output)


def insightface_schema(node_id: str, display_name: str) -> io.Schema:
    tip = "Face detector and recogniser, for the Apply PuLID nodes."
    return io.Schema(
        node_id=node_id,
        display_name=display_name,
        category="pulid",
        description="Loads the face pack antelopev2, with which PuLID was trained: for non-commercial research only.",
        search_aliases=["pulid", "insightface", "antelopev2"],
        inputs=[provider_input()],
        outputs=[inputs.FaceAnalysisType.Output(display_name="FACEANALYSIS", tooltip=tip)],
    )


class InsightFaceLoader(AtelierNode):
    """Base of both loaders of the face pack."""

    @classmethod
    def run(cls, provider: str) -> io.NodeOutput:
        return io.NodeOutput(load_face_models(provider, FACE_PACK))

    @classmethod
    def fingerprint_inputs(cls, **_: str) -> Hashable:
        return fingerprint_of_packs()


class PulidInsightFaceLoader(InsightFaceLoader):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return insightface_schema("PulidInsightFaceLoader", "Load InsightFace (PuLID)")


class PulidFluxInsightFaceLoader(InsightFaceLoader):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return insightface_schema("PulidFluxInsightFaceLoader", "Load InsightFace (PuLID Flux)")


def eva_schema(node_id: str, display_name: str) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        display_name=display_name,
        category="pulid",
        description="Loads the EVA02-CLIP L 336 encoder from models/clip_vision, models/open_clip or models/clip, "
        "recognised by its tensors. No file is downloaded.",
        search_aliases=["pulid", "eva clip", "eva02"],
        inputs=[],
        outputs=[EvaClipType.Output(display_name="EVA_CLIP", tooltip="The encoder, for the Apply PuLID nodes.")],
    )


class EvaClipLoader(AtelierNode):
    """Base of both loaders of the vision encoder."""

    @classmethod
    def run(cls) -> io.NodeOutput:
        return io.NodeOutput(load_eva())

    @classmethod
    def fingerprint_inputs(cls) -> Hashable:
        return fingerprint_of_eva()


class PulidEvaClipLoader(EvaClipLoader):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return eva_schema("PulidEvaClipLoader", "Load Eva Clip (PuLID)")


class PulidFluxEvaClipLoader(EvaClipLoader):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return eva_schema("PulidFluxEvaClipLoader", "Load Eva Clip (PuLID Flux)")
