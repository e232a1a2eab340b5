"""A UNet that says something although nobody trained it, and a few pictures to learn from."""

import pytest
import torch


@pytest.fixture(scope="module")
def denoiser():
    from training import unet  # needs ComfyUI, without which the tests of this folder are skipped

    torch.manual_seed(0)
    model = unet.Denoiser()
    for parameter in model.unet.parameters():  # a fresh one predicts nothing at all
        parameter.data += 0.02 * torch.randn(parameter.shape)
    return model


@pytest.fixture(scope="module")
def examples():
    from training import adapter

    generator = torch.Generator().manual_seed(0)
    latents, words = torch.randn(8, 8, 12, 12, generator=generator), torch.arange(8)
    pairs, where = torch.tensor([[0, 1], [2, 3]]), torch.zeros(2, 12, 12)
    where[:, :, :6] = 1
    split = {"latents": latents[:2], "words": words[:2], "pairs": pairs, "where": where}
    features = torch.randn(8, 128, generator=generator)
    return adapter.Examples({"latents": latents, "words": words}, split, features, torch.zeros(128))
