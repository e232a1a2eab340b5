"""Image prompts on Flux and SD3.5 where a model is larger than the memory of its device (--lowvram, --novram)."""

import re

import pytest
import torch

from harness.transformers import FILES, SD35, adapted, bare, half, latent

OFFLOADED = re.compile(r"(\d+) of (\d+) modules of (\w+) are offloaded")


def with_share(build, share):
    return lambda g, m: g.add("TestLittleMemory", model=build(g, m), share=share)[0]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("flag", "share"), [("--lowvram", 0.5), ("--novram", 0.0)])
def test_offloaded_weights_change_no_bit(server, file, flag, share):
    """And what was offloaded can be loaded again: the plain run comes after."""
    before = len(OFFLOADED.findall(server.log))
    masked = lambda g, m: adapted(file, attn_mask=half(g, 0))(g, m)  # noqa: E731
    offloaded = {build: latent(server, with_share(build, share), file, cfg=3.0) for build in (bare, masked)}
    for build, found in offloaded.items():
        assert found.isfinite().all()
        assert torch.equal(found, latent(server, build, file, cfg=3.0))
    assert not torch.equal(*offloaded.values())
    said = OFFLOADED.findall(server.log)[before:]
    assert len(said) == (3 if file == SD35 else 2)  # SD3.5's adapter computes while sampling
    for some, all_of_them, _ in said:
        assert 0 < int(some) < int(all_of_them) if share else some == all_of_them
