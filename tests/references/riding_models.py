"""Tiny transformers of ComfyUI's own classes, one of every family that references can ride along with."""

from references.edit_models import FLUX, FLUX2, EditModel

# The text and the latent of each are those of edit_models.py.
TRANSFORMERS = {
    "Flux": EditModel("Flux", FLUX, 4),
    "Flux.2": EditModel("Flux2", FLUX2, 4, channels=(128,)),
}
