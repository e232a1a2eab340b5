"""From the inputs of IPAdapter Reference Weights to a model whose own reference pictures are weighed."""

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.checks import check_weight
from ...ipadapter.errors import AdapterError
from ...ipadapter.sequences import check_takes_references
from ...ipadapter.weights import Weights
from ...weight_schedules.layers import LayerWeights
from ...weight_schedules.schedule import Schedule, multiplied, of_layers
from ..sampling.attach import layers_of, original_model, weigh_reference
from .apply import check_range, checked_mask, checked_product, note_black_masks

MOMENTS = 1000  # number of sampling percents at which a schedule's weights are compared with 0


def weigh_references(
    model: ModelPatcher,
    reference: int,
    weight: float,
    start_at: float,
    end_at: float,
    mask: Tensor | None = None,
    schedule: Schedule | None = None,
) -> ModelPatcher:
    """A clone of an edit model with a weight for the reference picture of a number from 1, or for all with number 0.

    Raises:
        ModelMismatchError: the model takes no reference pictures, or takes them in an unknown order.
        AdapterError: a weight below 0, or an empty range.
    """
    check_takes_references(original_model(model))
    check_range(start_at, end_at)
    blocks = layers_of(model)
    own = of_layers(LayerWeights((check_weight(weight),) * len(blocks)))
    weights = own if schedule is None else multiplied(own, schedule.resolve(blocks))
    check_not_subtracted(checked_product(weights))
    note_black_masks([mask])
    return weigh_reference(model, reference, weights, start_at, end_at, checked_mask(mask))


def check_not_subtracted(weights: Weights) -> None:
    """AdapterError for weights below 0 in any layer, at any thousandth of sampling, in any frame."""
    moments = range(1) if weights.constant else range(MOMENTS + 1)
    layers = {weight for moment in moments for weight in weights.at(moment / MOMENTS)}
    lowest = min(weight * frame for weight in layers for frame in weights.frames or (1.0,))
    if lowest < 0:
        raise AdapterError(
            f"The product of weight and schedule goes down to {lowest:g}: a reference can be left out (0), not "
            "subtracted."
        )
