"""Image prompts in a running ComfyUI server: what must hold whatever the weights are."""

from itertools import count
from typing import Any

import pytest
import torch

from harness.client import PromptError
from harness.graph import Graph
from harness.sampling import apply, sample

SDXL = {"family": "sdxl", "file": "ip-adapter_sdxl_vit-h.safetensors"}


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


def half_mask(g: Graph, width: int = 64, height: int = 64) -> list:
    black = g.add("SolidMask", value=0.0, width=width, height=height)
    white = g.add("SolidMask", value=1.0, width=width // 2, height=height)
    mask = g.add("MaskComposite", destination=black[0], source=white[0], x=0, y=0, operation="add")
    return mask[0]


def test_an_image_prompt_changes_the_picture(server):
    assert not torch.equal(latent(server, adapted()), latent(server, bare))


@pytest.mark.parametrize("file", ["ip-adapter_sd15.safetensors", "ip-adapter-plus_sd15.safetensors"])
def test_weight_zero_equals_no_adapter_bit_for_bit(server, file):
    assert torch.equal(latent(server, adapted(weight=0.0, file=file)), latent(server, bare))


def test_a_full_mask_equals_none_bit_for_bit(server):
    def masked(g, m):
        return apply(g, m, attn_mask=g.add("SolidMask", value=1.0, width=64, height=64)[0])[0]

    assert torch.equal(latent(server, masked), latent(server, adapted()))


def test_an_empty_mask_equals_no_adapter_bit_for_bit(server):
    def masked(g, m):
        return apply(g, m, attn_mask=g.add("SolidMask", value=0.0, width=64, height=64)[0])[0]

    assert torch.equal(latent(server, masked), latent(server, bare))


SIZES = [(64, 64), (72, 56)]  # pixels: the second makes 7 x 9 latents, whose levels halve unevenly


@pytest.mark.parametrize("size", SIZES)
def test_a_half_mask_changes_only_its_half_of_the_attention(server, size):
    def first_layer(mask):
        g = Graph()
        m = model(g)
        if mask is not None:
            masks: dict[str, Any] = {"attn_mask": half_mask(g, *size)} if mask else {}
            m = apply(g, m, **masks)[0]
        probe = g.add("TestProbe", model=m)
        sampled = sample(g, probe[0], size=size, steps=1)
        g.save("attention", g.add("TestReadProbe", probe=probe[1], after=sampled[0])[0])
        out = server.run(g).tensors("attention")["input1_0.0"]
        return out.unflatten(1, (size[1] // 8, size[0] // 8))  # (rows, height, width, channels)

    untouched, full, half = first_layer(None), first_layer(False), first_layer(True)
    middle = size[0] // 8 // 2
    right = middle + size[0] // 8 % 2  # an odd width has a middle column that both halves share
    assert torch.equal(half[:, :, right:], untouched[:, :, right:])
    assert torch.equal(half[:, :, :middle], full[:, :, :middle])
    assert not torch.equal(full[:, :, right:], untouched[:, :, right:])


@pytest.mark.parametrize("outside", [{"start_at": 0.0, "end_at": 0.0}, {"start_at": 1.0, "end_at": 1.0}])
def test_a_range_outside_the_run_equals_no_adapter(server, outside):
    assert torch.equal(latent(server, adapted(**outside)), latent(server, bare))


def test_a_range_inside_the_run_differs_from_both(server):
    late = latent(server, adapted(start_at=0.4), steps=4)
    assert not torch.equal(late, latent(server, adapted(), steps=4))
    assert not torch.equal(late, latent(server, bare, steps=4))


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


def test_a_branch_with_one_adapter_is_not_touched_by_a_branch_with_two(server):
    alone = latent(server, adapted(image=1))
    g = Graph()
    first = apply(g, model(g), image=1)
    second = apply(g, first[0], image=2)
    g.save("two", sample(g, second[0])[0])
    g.save("one", sample(g, first[0])[0])
    both = server.run(g)
    assert torch.equal(both.tensor("one"), alone)
    assert not torch.equal(both.tensor("two"), alone)


def test_the_order_of_two_adapters_does_not_matter(server):
    def chain(*images):
        def build(g, m):
            for image in images:
                m = apply(g, m, image=image, weight=0.3)[0]
            return m

        return build

    one, other = latent(server, chain(1, 2)), latent(server, chain(2, 1))
    # Sums in another order differ in the last bits, and two steps at CFG 7 amplify them.
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_the_same_prompt_gives_the_same_bits_after_everything_was_forgotten(server):
    first = latent(server, adapted())
    server.call("/free", {"unload_models": True, "free_memory": True})
    assert torch.equal(first, latent(server, adapted()))


def test_without_guidance_only_the_positive_rows_are_sampled_and_follow_the_picture(server):
    assert not torch.equal(latent(server, adapted(), cfg=1.0), latent(server, bare, cfg=1.0))


def test_a_batch_follows_as_one_latent_does(server):
    def noise_free(**more):
        return latent(server, adapted(), cfg=1.0, steps=1, **more)

    assert noise_free(batch=3).shape == (3, 4, 8, 8)
    assert not torch.equal(noise_free(batch=3), latent(server, bare, cfg=1.0, steps=1, batch=3))


@pytest.mark.parametrize("size", [(72, 56), (104, 40)])
def test_odd_sizes_run_with_a_mask(server, size):
    def masked(g, m):
        return apply(g, m, attn_mask=half_mask(g))[0]

    assert latent(server, masked, size=size).isfinite().all()


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


@pytest.mark.parametrize(
    "image", [{"channels": 4}, {"width": 1, "height": 1}, {"width": 3, "height": 500}, {"batch": 3}], ids=str
)
def test_pictures_of_any_size_and_with_alpha_work(server, image):
    def build(g, m):
        return apply(g, m, image=g.add("TestImage", seed=1, **image)[0])[0]

    assert latent(server, build).isfinite().all()


@pytest.mark.parametrize("width, height", [(1, 1), (7, 300), (1024, 64)])
def test_masks_of_any_size_work(server, width, height):
    def build(g, m):
        return apply(g, m, attn_mask=g.add("SolidMask", value=0.5, width=width, height=height)[0])[0]

    out = latent(server, build)
    assert not torch.equal(out, latent(server, bare)) and not torch.equal(out, latent(server, adapted()))
