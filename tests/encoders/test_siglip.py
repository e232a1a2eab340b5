"""The pooling head is that of transformers' SigLIP."""

from typing import Any

import pytest
import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

from pack.encoders.siglip import KEYS, pool
from pack.ipadapter.errors import CheckpointError


def judge() -> Any:
    torch.manual_seed(0)
    config = SiglipVisionConfig(
        hidden_size=32, intermediate_size=40, num_hidden_layers=1, num_attention_heads=16, image_size=16, patch_size=4
    )
    return SiglipVisionModel(config).eval()


def test_the_pooled_vector_is_that_of_transformers():
    model = judge()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        output = model(torch.rand(3, 3, 16, 16))
    state = model.state_dict()
    head = {key if key in KEYS else f"vision_model.{key}": tensor for key, tensor in state.items()}
    assert set(KEYS) <= head.keys()
    found = pool(output.last_hidden_state, head)
    assert output.pooler_output.std() > 0.1
    torch.testing.assert_close(found, output.pooler_output, rtol=0, atol=2e-4)  # outputs near 100, float32


def test_a_missing_tensor_is_named():
    with pytest.raises(CheckpointError, match="vision_model.head.probe"):
        pool(torch.zeros(1, 2, 32), {})
