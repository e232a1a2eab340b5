"""Image prompts in a running ComfyUI server: what its own nodes bring, and what a user can get wrong.

What holds whatever the weights are is proven faster in nodes/test_contract.py; one graph shows here that the nodes,
the server and its cache keep it.
"""

from itertools import count

import pytest
import torch

from harness.client import PromptError
from harness.graph import Graph
from harness.sampling import apply, sample

RUNS = count()


def model(g: Graph, family: str = "sd15") -> list:
    return g.add("TestModel", family=family, seed=1)[0]


def latent(server, build, **sampling) -> torch.Tensor:
    """The latent sampled from the model that `build(graph, model)` makes of a bare one."""
    g = Graph()
    family = sampling.get("family", "sd15")
    name = f"latent{next(RUNS)}"  # another name each time: ComfyUI 0.16 shows no outputs of nodes that it did not run
    g.save(name, sample(g, build(g, model(g, family)), **sampling)[0])
    return server.run(g).tensor(name)


def bare(g: Graph, m: list) -> list:
    return m


def adapted(**more):
    return lambda g, m: apply(g, m, **more)[0]


def mask(g: Graph, value: float, width: int = 64, height: int = 64) -> list:
    return g.add("SolidMask", value=value, width=width, height=height)[0]


def half_mask(g: Graph) -> list:
    white = mask(g, 1.0, width=32)
    return g.add("MaskComposite", destination=mask(g, 0.0), source=white, x=0, y=0, operation="add")[0]


def sampled(server, models, **sampling) -> dict[str, torch.Tensor]:
    """The latents of several models, each made of a bare one by its function, sampled by one graph."""
    g = Graph()
    runs = {name: f"{name} {next(RUNS)}" for name in models}
    for name, build in models.items():
        g.save(runs[name], sample(g, build(g, model(g)), **sampling)[0])
    result = server.run(g)
    return {name: result.tensor(run) for name, run in runs.items()}


def test_weights_masks_and_ranges_through_the_server_are_those_of_the_contract(server):
    plus = "ip-adapter-plus_sd15.safetensors"
    found = sampled(
        server,
        {
            "bare": bare,
            "adapted": adapted(),
            "plus": adapted(file=plus),
            "weight 0": adapted(weight=0.0),
            "weight 0 of plus": adapted(weight=0.0, file=plus),
            "white": lambda g, m: apply(g, m, attn_mask=mask(g, 1.0))[0],
            "black": lambda g, m: apply(g, m, attn_mask=mask(g, 0.0))[0],
            "half": lambda g, m: apply(g, m, attn_mask=half_mask(g))[0],
            "never": adapted(start_at=1.0, end_at=1.0),
            "two": lambda g, m: apply(g, apply(g, m, image=1)[0], image=2)[0],
        },
    )
    as_bare = [name for name, latent in found.items() if torch.equal(latent, found["bare"])]
    as_adapted = [name for name, latent in found.items() if torch.equal(latent, found["adapted"])]
    assert as_bare == ["bare", "weight 0", "weight 0 of plus", "black", "never"]
    assert as_adapted == ["adapted", "white"]


def test_the_same_prompt_gives_the_same_bits_after_everything_was_forgotten(server):
    first = latent(server, adapted())
    server.call("/free", {"unload_models": True, "free_memory": True})
    assert torch.equal(first, latent(server, adapted()))


def test_changing_the_second_adapter_of_a_chain_equals_a_cold_run(server):
    g = Graph()
    first = apply(g, model(g), image=1)
    second = apply(g, first[0], image=2, file="ip-adapter-plus_sd15.safetensors", weight=0.5)
    g.save("latent", sample(g, second[0])[0])
    server.run(g)
    for weight in (0.7, 0.9):
        second.set(weight=weight)
        warm = server.run(g).tensor("latent")

    def cold(g, m):
        one = apply(g, m, image=g.add("TestImage", seed=1, width=256)[0])
        return apply(g, one[0], image=2, file="ip-adapter-plus_sd15.safetensors", weight=0.9)[0]

    server.call("/free", {"unload_models": True, "free_memory": True})
    assert torch.equal(warm, latent(server, cold))


def test_a_batch_and_odd_sizes_run_with_a_mask(server):
    def masked(g, m):
        return apply(g, m, attn_mask=half_mask(g))[0]

    for sampling in ({"batch": 3}, {"size": (72, 56)}, {"size": (104, 40)}):
        found = sampled(server, {"bare": bare, "masked": masked}, steps=1, **sampling)
        assert found["masked"].isfinite().all() and not torch.equal(found["masked"], found["bare"]), sampling


@pytest.mark.parametrize("family", ["sdxl", "ssd-1b", "vega", "koala"])
def test_sdxl_and_its_pruned_relatives_follow_the_picture_in_every_layer(server, family):
    file = "ip-adapter_sdxl_vit-h.safetensors"
    g = Graph()
    probes = {}
    for name, m in (("bare", model(g, family)), ("adapted", apply(g, model(g, family), file=file)[0])):
        probe = g.add("TestProbe", model=m)
        sampled = sample(g, probe[0], "sdxl", steps=1)
        g.save(name, g.add("TestReadProbe", probe=probe[1], after=sampled[0])[0])
    run = server.run(g)
    probes = {name: run.tensors(name) for name in ("bare", "adapted")}
    assert all(not torch.equal(probes["bare"][layer], probes["adapted"][layer]) for layer in probes["bare"])


BAD = {
    "wrong encoder": (
        {"clip_vision": ("TestClipVision", {"seed": 3, "projection": 48})},
        "needs pooled embeds 32 wide, of shape .n, d., got .1, 48.",
    ),
    "another family's adapter": ({"file": "ip-adapter_sdxl_vit-h.safetensors"}, "made for SDXL .* model is SD1.5"),
    "not a number": ({"image": ("TestImage", {"seed": 1, "kind": "nan"})}, "Image 1 of 1 holds values that are not"),
    "empty batch": ({"image": ("TestImage", {"seed": 1, "kind": "empty"})}, "at least one image"),
    "reversed range": ({"start_at": 0.8, "end_at": 0.2}, "start_at .0.8. lies after end_at .0.2."),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_sampling_and_breaks_nothing(server, case):
    wrong, message = BAD[case]
    good = latent(server, adapted())

    def build(g, m):
        links = {name: g.add(v[0], **v[1])[0] if isinstance(v, tuple) else v for name, v in wrong.items()}
        return apply(g, m, **links)[0]

    with pytest.raises(PromptError, match=f"IPAdapterAdvanced: .*{message}"):
        latent(server, build)
    server.call("/free", {"unload_models": True, "free_memory": True})  # so that the good graph really runs again
    assert torch.equal(latent(server, adapted()), good)


def test_pictures_of_any_size_and_with_alpha_and_masks_of_any_size_work(server):
    images = ({"channels": 4}, {"width": 1, "height": 1}, {"width": 3, "height": 500}, {"batch": 3})
    sizes = ((1, 1), (7, 300), (1024, 64))

    def of_image(image):
        return lambda g, m: apply(g, m, image=g.add("TestImage", seed=1, **image)[0])[0]

    def of_mask(size):
        return lambda g, m: apply(g, m, attn_mask=mask(g, 0.5, *size))[0]

    models = {"bare": bare, "adapted": adapted()}
    models |= {f"image {image}": of_image(image) for image in images}
    models |= {f"mask {size}": of_mask(size) for size in sizes}
    found = sampled(server, models)
    assert [name for name, latent in found.items() if not latent.isfinite().all()] == []
    assert [name for name, latent in found.items() if name != "bare" and torch.equal(latent, found["bare"])] == []
    assert [name for name in found if "mask" in name and torch.equal(found[name], found["adapted"])] == []
