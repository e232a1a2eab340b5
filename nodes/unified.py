"""Load by preset: the adapter for the model, the encoder for the adapter, and the face models of FaceID presets."""

from collections.abc import Hashable, Mapping
from typing import ClassVar, TypedDict

from comfy_api.latest import io

from ..ipadapter.presets import COMMUNITY, FACES, GENERAL, Preset
from . import inputs
from .face_loader import provider_input
from .loading.by_preset import PRESETS_OWN, FaceSettings, load_preset
from .loading.face_packs import fingerprint_of_packs, pack_names
from .loading.search import fingerprint_of_preset
from .old.appended import AppendedChoice
from .old.methods import LoadModelsMethod
from .sockets import Adapter, Model


class Sockets(TypedDict):
    """The part of a schema that all unified loaders have alike."""

    inputs: list[io.Input]
    outputs: list[io.Output]


class PresetLoader(LoadModelsMethod):
    """Base of the unified loaders, which differ in their presets."""

    presets: ClassVar[Mapping[str, Preset]] = {}

    @classmethod
    def inputs_and_outputs(cls, *face_inputs: io.Input, model_name: str = "model") -> Sockets:
        tip = "Which adapter is loaded. The node searches for the file for the model, and for the encoder that fits."
        upstream_tip = "Another unified loader's output, whose encoder and detector are used again."
        pipeline_tip = "The adapter with its encoder, for any apply node."
        return {
            "inputs": [
                inputs.model(),
                inputs.Choice("preset", options=list(cls.presets), tooltip=tip),
                *face_inputs[:2],
                inputs.ipadapter(optional=True, tooltip=upstream_tip),
                *face_inputs[2:],
            ],
            "outputs": [
                io.Model.Output(display_name=model_name, tooltip="The model; with the LoRA of FaceID presets."),
                inputs.IPAdapterType.Output(display_name="ipadapter", tooltip=pipeline_tip),
            ],
        }

    @classmethod
    def run(cls, model: Model, preset: str, ipadapter: Adapter | None = None) -> io.NodeOutput:
        return io.NodeOutput(*load_preset(model, preset, cls.presets, ipadapter, FaceSettings()))

    @classmethod
    def fingerprint_inputs(cls, preset: str | None = None, **_: object) -> Hashable:
        if preset is None or preset not in cls.presets:  # None: arrives through a link
            return None
        chosen = cls.presets[preset]
        return fingerprint_of_preset(chosen), fingerprint_of_packs() if chosen.face_pack else None


class IPAdapterUnifiedLoader(PresetLoader):
    presets = GENERAL

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterUnifiedLoader",
            display_name="IPAdapter Unified Loader",
            category="ipadapter",
            description="Loads the adapter of a preset for the connected model, and the vision encoder that fits.",
            search_aliases=["ip-adapter loader", "ipa", "image prompt loader", "reference"],
            **cls.inputs_and_outputs(),
        )


class IPAdapterUnifiedLoaderFaceID(PresetLoader):
    presets = FACES

    @classmethod
    def define_schema(cls) -> io.Schema:
        strength_tip = "Strength of the LoRA that belongs to FaceID, FaceID Plus and Plus V2: trained with 1.0."
        pack_tip = "A folder in models/insightface/models. The preset's own is the one its adapter was trained with."
        return io.Schema(
            node_id="IPAdapterUnifiedLoaderFaceID",
            display_name="IPAdapter Unified Loader FaceID",
            category="ipadapter/faceid",
            description="Loads a FaceID adapter with its LoRA, its face recogniser and, for Plus, the vision encoder.",
            search_aliases=["faceid loader", "face id loader", "face swap", "换脸"],
            **cls.inputs_and_outputs(
                io.Float.Input("lora_strength", default=0.6, min=0, max=1, step=0.01, tooltip=strength_tip),
                provider_input(),
                AppendedChoice(
                    "model_name", options=[PRESETS_OWN, *pack_names()], optional=True, advanced=True, tooltip=pack_tip
                ),
                model_name="MODEL",
            ),
        )

    @classmethod
    def run(
        cls,
        model: Model,
        preset: str,
        lora_strength: float = 0.0,
        provider: str = "CPU",
        ipadapter: Adapter | None = None,
        model_name: str = PRESETS_OWN,
    ) -> io.NodeOutput:
        settings = FaceSettings(lora_strength, provider, model_name)
        return io.NodeOutput(*load_preset(model, preset, cls.presets, ipadapter, settings))


class IPAdapterUnifiedLoaderCommunity(PresetLoader):
    presets = COMMUNITY

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterUnifiedLoaderCommunity",
            display_name="IPAdapter Unified Loader Community",
            category="ipadapter/loaders",
            description="Loads an adapter of the community, and the vision encoder that fits.",
            search_aliases=["composition adapter", "kolors", "flux", "xlabs", "instantx", "sd3.5"],
            **cls.inputs_and_outputs(),
        )


NODES: list[type[io.ComfyNode]] = [
    IPAdapterUnifiedLoader, IPAdapterUnifiedLoaderFaceID, IPAdapterUnifiedLoaderCommunity,
]  # fmt: skip
