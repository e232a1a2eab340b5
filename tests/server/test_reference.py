"""IPAdapter Reference through the API: each choice gives, bit for bit, what the nodes that it stands for give."""

from typing import Any

import pytest
from safetensors.torch import save_file
from torch import Tensor

from harness.client import Client, PromptError
from harness.demo_graph import APPLY, half_mask, sample
from harness.graph import Graph, Link, Node
from harness.wiring import Wiring
from test_nodes_pack.standins import tiny_clip_vision
from test_nodes_pack.transformers import TRANSFORMERS

SAME_AS: dict[str, dict[str, Any]] = {  # choice -> settings of IPAdapter Advanced; layers is a layer text
    "everything": {"weight": 0.8},
    "style": {"weight": 1.0, "weight_type": "style transfer"},
    "layout": {"weight": 1.0, "weight_type": "composition"},
    "style and layout": {"weight": 1.0, "weight_type": "style and composition"},
    "character without its colours": {"weight": 0.8, "end_at": 0.6, "layers": "all, style:0"},
}
STYLE, LAYOUT = "yellow on rings", "blue on checks"


class Bench:
    """One graph on the demo's models, whose latents are compared."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.models = self.graph.add("IPAdapterDemoLoader", adapter="plus")
        self.image, self.image_2 = (self.graph.add("IPAdapterDemoReference", picture=p)[0] for p in (STYLE, LAYOUT))

    def reference(self, take: str, **more: Any) -> Node:
        inputs = {"model": self.models[0], "image": self.image, "take": take, "strength": 1.0}
        return self.graph.add("IPAdapterReference", **inputs | more)

    def advanced(self, layers: str = "", **more: Any) -> Link:
        links = {"model": self.models[0], "clip_vision": self.models[1], "ipadapter": self.models[2]}
        schedule = {"schedule": self.schedule(layers)} if layers else {}
        return self.graph.add("IPAdapterAdvanced", **APPLY | links | {"image": self.image} | schedule | more)[0]

    def schedule(self, layers: str, **more: Any) -> Link:
        constant = {"layers": "linear", "steps": "constant", "low": 0.0, "high": 1.0, "start": 0.0, "end": 1.0}
        return self.graph.add("IPAdapterWeightSchedule", **constant | {"layer_text": layers} | more)[0]

    def latents(self, server: Client, **models: Link) -> dict[str, Tensor]:
        for name, model in models.items():
            picture = sample(self.graph, self.models, model, "house", seed=5, steps=4)
            self.graph.save(name, self.graph.prompt[picture.id]["inputs"]["samples"])
        result = server.run(self.graph)
        return {name: result.tensor(name) for name in models}


def test_each_choice_is_the_advanced_node_with_the_settings_of_the_table(server):
    bench = Bench()
    mask = half_mask(bench.graph, "left")[0]
    models: dict[str, Link] = {"bare": bench.models[0]}
    for take, settings in SAME_AS.items():
        models[take] = bench.reference(take, attn_mask=mask, start_at=0.2)[0]
        models[f"{take}, by hand"] = bench.advanced(**settings, attn_mask=mask, start_at=0.2)
    latents = bench.latents(server, **models)
    assert [take for take in SAME_AS if not latents[take].equal(latents[f"{take}, by hand"])] == []
    seen = [latents[name] for name in ("bare", *SAME_AS)]
    assert all(not one.equal(other) for number, one in enumerate(seen) for other in seen[:number])


def test_strength_multiplies_the_weight_and_an_earlier_end_and_a_schedule_count(server):
    bench = Bench()
    fading = bench.schedule("", steps="ease out")
    latents = bench.latents(
        server,
        off=bench.reference("everything", strength=0.0)[0],
        bare=bench.models[0],
        half=bench.reference("everything", strength=0.5, end_at=0.4, schedule=fading)[0],
        by_hand=bench.advanced(weight=0.4, end_at=0.4, schedule=fading),
    )
    assert latents["off"].equal(latents["bare"])
    assert latents["half"].equal(latents["by_hand"]) and not latents["half"].equal(latents["bare"])


def test_a_second_picture_gives_the_layout_or_acts_beside_the_first_with_half_the_strength(server):
    bench = Bench()
    links = {"ipadapter": bench.models[2], "clip_vision": bench.models[1]}
    numbers = {"weight_style": 1.0, "weight_composition": 1.0, "expand_style": False, "combine_embeds": "concat",
               "start_at": 0.0, "end_at": 1.0, "embeds_scaling": "V only"}  # fmt: skip
    pictures = {"image_style": bench.image, "image_composition": bench.image_2}
    two = bench.graph.add("IPAdapterStyleComposition", model=bench.models[0], **links, **pictures, **numbers)
    first = bench.advanced(weight=0.4)
    latents = bench.latents(
        server,
        layout=bench.reference("style and layout", image_2=bench.image_2)[0],
        two=two[0],
        beside=bench.reference("everything", image_2=bench.image_2)[0],
        chain=bench.advanced(model=first, weight=0.4, image=bench.image_2),
        alone=bench.reference("everything")[0],
    )
    assert latents["layout"].equal(latents["two"]) and latents["beside"].equal(latents["chain"])
    assert not latents["beside"].equal(latents["alone"])


def test_its_schedule_says_how_it_acts_and_its_report_which_files_it_took(server):
    bench = Bench()
    take = "character without its colours"
    node = bench.reference(take, strength=0.5, start_at=0.25)
    expected = bench.schedule("all, style:0", start=0.25, end=0.6, scale=0.4)
    texts = [bench.graph.add("IPAdapterScheduleToText", schedule=one) for one in (node[1], expected)]
    report = bench.graph.add("PreviewAny", source=node[2])
    preview = bench.graph.add("IPAdapterSchedulePreview", schedule=node[1], family="SD1.5", model=node[0])
    result = server.run(bench.graph)
    own, by_hand = (result.outputs[text.id]["text"] for text in texts)
    assert own == by_hand
    (said,) = result.outputs[report.id]["text"]
    for words in ("ip-adapter-plus_demo.safetensors", "approximation", "all, style:0", "weight 0.4", "0.25 to 0.6"):
        assert words in said, words
    assert result.images(preview.id)[0].width > 100


def test_with_the_demos_models_a_choice_without_colours_says_that_it_brings_next_to_nothing(server):
    bench = Bench()
    nodes = {take: bench.reference(take) for take in SAME_AS}
    reports = {take: bench.graph.add("PreviewAny", source=node[2]).id for take, node in nodes.items()}
    latents = bench.latents(server, bare=bench.models[0], **{take: node[0] for take, node in nodes.items()})
    outputs = server.run(bench.graph).outputs
    for take, id in reports.items():
        moved = (latents[take] - latents["bare"]).abs().mean() / latents["bare"].abs().mean()
        said = "nearly that without a reference" in outputs[id]["text"][0]
        assert moved < 0.05 if said else moved > 0.5, f"{take}: {moved}"  # 0.013 and 2.7 on a CPU


def test_what_cannot_act_is_refused_with_a_reason(server):
    refused = {"face or person": (0.0, "draw no faces"), "character without its colours": (0.7, "until 0.6 here")}
    for take, (start_at, reason) in refused.items():
        bench = Bench()
        node = bench.reference(take, start_at=start_at)
        bench.graph.add("IPAdapterSchedulePreview", schedule=node[1], family="SD1.5", model=node[0])
        with pytest.raises(PromptError, match=reason) as error:
            server.run(bench.graph)
        assert error.value.node_type == "IPAdapterReference"


def test_it_takes_the_published_files_that_are_there_and_names_those_that_are_missing(start_server):
    server = start_server("--dont-print-server")  # whose model folders no other test fills
    models = server.output.parent / "models"
    encoder = tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224)
    save_file(encoder.get_sd(), models / "clip_vision" / "small.safetensors")
    w = Wiring(server, file="ip-adapter-plus_sd15.safetensors")
    node = w.add("IPAdapterReference", take="style")
    report = w.graph.add("PreviewAny", source=node[2])
    w.same(node[0], w.add("IPAdapterAdvanced", weight_type="style transfer")[0])
    (said,) = w.result.outputs[report.id]["text"]
    assert "PLUS (high strength): ip-adapter-plus_sd15.safetensors, small.safetensors" in said
    w = Wiring(server, "sdxl shallow")
    with pytest.raises(PromptError, match="faceid-plusv2_sdxl.bin from .*Model Download: preset FACEID PLUS V2"):
        w.latents(one=w.add("IPAdapterReference", take="face or person")[0])


# Where no adapter fits


class NoFiles:
    """A model that no adapter on the disk fits, its VAE and prompts, in one graph."""

    def __init__(self, family: str) -> None:
        self.graph = g = Graph()
        self.model = g.add("TestModel", family=family, seed=1)[0]
        width = "sdxl refiner" if family == "sdxl refiner" else "sdxl"
        self.vae = g.add("TestVae", family=width)[0]
        self.texts = [g.add("TestConditioning", family=width, seed=seed)[0] for seed in (10, 20)]
        self.image, self.image_2 = (g.add("TestImage", seed=seed, width=64, height=64)[0] for seed in (1, 2))
        self.latent = g.add("EmptyLatentImage", width=64, height=64, batch_size=1)[0]

    def reference(self, take: str, **more: Any) -> Node:
        links = {"model": self.model, "image": self.image, "vae": self.vae}
        inputs = links | {"take": take, "strength": 1.0} | more
        return self.graph.add("IPAdapterReference", **{name: one for name, one in inputs.items() if one is not None})

    def attention(self, layers: str, image: Link | None = None, **more: Any) -> Link:
        latent = self.graph.add("VAEEncode", pixels=image or self.image, vae=self.vae)[0]
        inputs = {"model": self.model, "weight": 1.0, "start_at": 0.0, "end_at": 1.0, "latent": latent}
        return self.graph.add("IPAdapterReferenceAttention", **inputs | {"layers": layers} | more)[0]

    def latents(self, server: Client, **models: Link) -> dict[str, Tensor]:
        positive, negative = self.texts
        widgets = {"seed": 5, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
        for name, model in models.items():
            links = {"model": model, "positive": positive, "negative": negative, "latent_image": self.latent}
            self.graph.save(name, self.graph.add("KSampler", **links, **widgets)[0])
        result = self.result = server.run(self.graph)
        return {name: result.tensor(name) for name in models}


@pytest.fixture(scope="module")
def bare_server(start_server):
    return start_server("--dont-print-server")  # whose model folders no other test fills


@pytest.mark.parametrize("family", ["sdxl refiner", "ssd-1b"])
def test_without_an_adapter_the_model_follows_the_picture_itself_and_the_node_says_so(bare_server, family):
    bench = NoFiles(family)
    mask = half_mask(bench.graph, "left")[0]
    style = bench.reference("style", start_at=0.3, attn_mask=mask)
    report = bench.graph.add("PreviewAny", source=style[2])
    preview = bench.graph.add("IPAdapterSchedulePreview", schedule=style[1], family="SDXL", model=style[0])
    second = bench.attention("all", weight=0.3)
    latents = bench.latents(
        bare_server,
        bare=bench.model,
        style=style[0],
        style_by_hand=bench.attention("late", start_at=0.3, attn_mask=mask),
        both=bench.reference("everything", strength=0.6, image_2=bench.image_2)[0],
        both_by_hand=bench.attention("all", bench.image_2, model=second, weight=0.3),
        strong=bench.reference("everything", strength=2.0)[0],
        whole=bench.attention("all"),
    )
    for name, other in {"style": "style_by_hand", "both": "both_by_hand", "strong": "whole"}.items():
        assert latents[name].equal(latents[other]) and not latents[name].equal(latents["bare"]), name
    (said,) = bench.result.outputs[report.id]["text"]
    for words in ("style without an adapter, by IPAdapter Reference Attention", "share 1; sampling 0.3 to 1", "Why no"):
        assert words in said, said
    assert bench.result.images(preview.id)[0].width > 100


def test_without_an_adapter_what_self_attention_cannot_give_is_refused_and_a_vae_is_asked_for(bare_server):
    advice = "Or connect a VAE to vae"
    cases = {
        ("style", None): (advice, True), ("layout", 0): (advice, False), ("face or person", 0): (advice, False),
        ("style and layout", 0): (advice, False), ("character without its colours", 0): (advice, False),
    }  # fmt: skip
    for (take, vae), (words, said) in cases.items():
        bench = NoFiles("sdxl refiner")
        node = bench.reference(take, **({"vae": None} if vae is None else {}))
        with pytest.raises(PromptError) as error:
            bench.latents(bare_server, never=node[0])
        assert "The unified loaders know adapters for" in str(error.value), take
        assert (words in str(error.value)) == said, take
        assert error.value.node_type == "IPAdapterReference"


def test_a_picture_that_is_too_small_for_a_vae_is_refused(bare_server):
    bench = NoFiles("sdxl refiner")
    strip = bench.graph.add("TestImage", seed=1, width=64, height=7)[0]
    with pytest.raises(PromptError, match="64 x 7 pixels, and a VAE needs at least 16 x 16"):
        bench.latents(bare_server, never=bench.reference("style", image=strip)[0])


def test_transformers_without_an_adapter_follow_the_picture_as_an_experiment(bare_server):
    """By the shares, layers and method that IPAdapter Reference Attention has for them: at half the weight."""
    g, wrong = Graph(), []
    two = g.add("ImageBatch", **{f"image{n}": g.add("TestImage", seed=n, width=64, height=64)[0] for n in (1, 2)})[0]
    one = g.add("TestImage", seed=3, width=64, height=64)[0]
    choices = {"everything": (two, "all", 0.6), "style": (one, "late", 1.0)}
    families = {family: tuple(choices) for family in ("Qwen-Image", "Z-Image", "Krea 2")}
    families |= {family: ("style",) for family in ("Flux", "Chroma", "SD3.5 Medium")}  # adapters take everything
    families = {family: takes for family, takes in families.items() if family in TRANSFORMERS}  # of this release
    reports = {}
    for family, takes in families.items():
        model, positive, empty = (g.add("TestTransformer", kind=family, seed=seed) for seed in (0, 10, 0))
        vae = g.add("TestVae", family="qwen" if family in ("Qwen-Image", "Krea 2") else "flux")[0]
        models = {"bare": model[0]}
        for take in takes:
            pictures, layers, weight = choices[take]
            node = g.add("IPAdapterReference", model=model[0], image=pictures, take=take, strength=weight, vae=vae)
            latent = g.add("VAEEncode", pixels=pictures, vae=vae)[0]
            by_hand = {"model": model[0], "latent": latent, "layers": layers, "weight": weight}
            models[take] = node[0]
            models[f"{take} by hand"] = g.add("IPAdapterReferenceAttention", **by_hand, start_at=0.0, end_at=1.0)[0]
            reports[family, take] = g.add("PreviewAny", source=node[2]).id
        for name, link in models.items():
            sampled = g.add(
                "KSampler", model=link, positive=positive[1], negative=positive[1], latent_image=empty[2], seed=5,
                steps=1, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=0.5,
            )  # fmt: skip
            g.save(f"{family} {name}", sampled[0])
    result = bare_server.run(g)
    for (family, take), report in reports.items():
        bare, by_node, by_hand = (result.tensor(f"{family} {name}") for name in ("bare", take, f"{take} by hand"))
        wrong += [f"{family}, {take}"] * (not by_node.equal(by_hand) or by_node.equal(bare))
        (said,) = result.outputs[report]["text"]
        share = f"share {choices[take][2] / 2:g}; sampling 0 to 1"
        words = (f"{take} without an adapter", "Experimental: ", family.split()[0], share, "Why no adapter: ")
        wrong += [said] * any(one not in said for one in words)
    assert wrong == []
