"""The LoRA of a FaceID adapter on a model, through ComfyUI's own LoRA code."""

from comfy.model_patcher import ModelPatcher

from ...ipadapter.errors import AdapterError
from ...ipadapter.lora import lora_state_dict
from ..host_types import Socket
from ..sampling.attach import original_model, with_lora_weights
from .adapters import open_pipeline


def apply_face_lora(model: ModelPatcher, ipadapter: Socket, strength: float) -> ModelPatcher:
    """A clone of a model with the LoRA of an adapter's checkpoint, which has no weights for the text encoder."""
    adapter = open_pipeline(ipadapter).adapter
    if fault := adapter.config.lora_fault:
        raise AdapterError(
            f"The LoRA in {adapter.name} cannot be used: {fault}, so the file is damaged or was cut. Its image prompt "
            "works. Download the file again, or load the *_lora file that belongs to it with Load LoRA."
        )
    if not adapter.config.has_lora:
        raise AdapterError(
            f"{adapter.name} ({adapter.config.variant}) holds no LoRA: only FaceID, FaceID Plus and FaceID Plus V2 "
            "files do. Portrait and Kolors adapters need none; for others load the *_lora file that belongs to them."
        )
    return with_lora_weights(model, lora_state_dict(adapter.lora, original_model(model)), strength)
