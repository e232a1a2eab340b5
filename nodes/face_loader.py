"""Load a face detector and recogniser from any insightface pack on disk."""

from collections.abc import Hashable

from comfy_api.latest import io

from ..encoders.face_models import PROVIDERS
from . import inputs
from .loading.face_packs import fingerprint_of_packs, load_face_models, pack_names
from .old.methods import LoadInsightFaceMethod


def provider_input() -> io.Input:
    tip = "What the face networks run on. CPU takes a fraction of a second per picture and needs no extra package."
    return inputs.Choice("provider", options=list(PROVIDERS), tooltip=tip)


class IPAdapterInsightFaceLoader(LoadInsightFaceMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = (
            "A folder in models/insightface/models. FaceID adapters were trained with buffalo_l, Kolors FaceID with "
            "antelopev2: both are for non-commercial research only."
        )
        return io.Schema(
            node_id="IPAdapterInsightFaceLoader",
            display_name="IPAdapter InsightFace Loader",
            category="ipadapter/loaders",
            description="Loads a face detector and recogniser from disk. Nothing is downloaded.",
            search_aliases=["insightface", "face analysis", "arcface", "buffalo_l", "antelopev2"],
            inputs=[provider_input(), inputs.Choice("model_name", options=pack_names(), tooltip=tip)],
            outputs=[insightface_output()],
        )

    @classmethod
    def run(cls, provider: str, model_name: str = "buffalo_l") -> io.NodeOutput:
        return io.NodeOutput(load_face_models(provider, model_name))

    @classmethod
    def fingerprint_inputs(cls, **_: str) -> Hashable:
        return fingerprint_of_packs()


def insightface_output() -> io.Output:
    tip = "Face detector and recogniser, for FaceID nodes and Face Crop."
    return inputs.InsightFaceType.Output(display_name="INSIGHTFACE", tooltip=tip)


NODES: list[type[io.ComfyNode]] = [IPAdapterInsightFaceLoader]
