"""Rescale, Layer Sweep, Study, Attention Map and Schedule Preview on models with references and no adapter."""

import pytest
import torch

from harness.client import PromptError
from harness.graph import Graph, Link
from harness.sampling import apply

SAMPLING = {"seed": 5, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
ONE_STEP = SAMPLING | {"steps": 1}


class Scene:
    """A model and its conditionings in one graph, and a node that brings references without an adapter."""

    def __init__(self, kind: str) -> None:
        self.graph = g = Graph()
        self.kind = kind
        if kind == "sd15":
            self.model = g.add("TestModel", family="sd15", seed=1)[0]
            self.positive, self.negative = (g.add("TestConditioning", family="sd15", seed=s)[0] for s in (10, 20))
            self.latent = g.add("EmptyLatentImage", width=64, height=64, batch_size=1)[0]
        else:
            made = g.add("TestEditModel", kind=kind)
            self.model, self.positive, self.negative, self.latent = (made[slot] for slot in range(4))
        self.vae = g.add("TestVae", family="sd15" if kind == "sd15" else "flux")[0]
        self.pixels = g.add("TestImage", seed=1, width=64, height=64)[0]

    @property
    def links(self) -> dict[str, Link]:
        return {"positive": self.positive, "negative": self.negative, "latent_image": self.latent}

    def referred(self, weight: float = 1.0, model: Link | None = None, **more: object) -> Link:
        """The model with a riding reference, or with weights for its own references."""
        inputs: dict[str, object] = {"model": model or self.model, "weight": weight, "start_at": 0.0, "end_at": 1.0}
        if self.kind != "sd15":
            return self.graph.add("IPAdapterReferenceWeights", **inputs, reference=0, **more)[0]
        latent = self.graph.add("VAEEncode", pixels=self.pixels, vae=self.vae)[0]
        return self.graph.add("IPAdapterReferenceAttention", **inputs, latent=latent, layers="all", **more)[0]

    def schedule(self, text: str, **more: object) -> Link:
        constant = {"layers": "linear", "steps": "constant", "low": 0.0, "high": 1.0, "start": 0.0, "end": 1.0}
        return self.graph.add("IPAdapterWeightSchedule", **constant, layer_text=text, **more)[0]

    def rescaled(self, model: Link, factor: float, **more: Link) -> Link:
        return self.graph.add("IPAdapterRescale", model=model, factor=factor, **more)[0]

    def latents(self, server, **models: Link) -> dict[str, torch.Tensor]:
        for name, model in models.items():
            self.graph.save(name, self.graph.add("KSampler", model=model, **self.links, **ONE_STEP)[0])
        result = server.run(self.graph)
        return {name: result.tensor(name) for name in models}


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal up to the rounding of a weight that is a product of others, through a softmax in every layer."""
    return torch.allclose(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("kind", ["sd15", "Flux Kontext", "Qwen-Image-Edit"])
def test_one_knob_rescales_references_without_an_adapter(server, kind):
    s = Scene(kind)
    layer = s.schedule("1:1")
    twice = s.referred(0.8, model=s.referred(0.8)) if kind == "sd15" else s.referred(0.5, model=s.referred())
    latents = s.latents(
        server,
        whole=s.referred(0.8),
        half=s.referred(0.4),
        off=s.referred(0.0),
        knob=s.rescaled(s.referred(0.8), 0.5),
        knob_off=s.rescaled(s.referred(0.8), 0.0),
        layer=s.referred(0.4, schedule=layer),
        knob_layer=s.rescaled(s.referred(0.8), 0.5, schedule=layer),
        again=s.rescaled(s.rescaled(s.referred(0.8), 0.8), 0.625),
        two=twice,
        two_rescaled=s.rescaled(twice, 1.0),
        bare=s.model,
        bare_rescaled=s.rescaled(s.model, 0.5),
    )
    assert not close(latents["half"], latents["whole"]) and not close(latents["half"], latents["layer"])
    pairs = {"knob": "half", "knob_layer": "layer", "again": "half", "two_rescaled": "two"}
    assert [name for name, other in pairs.items() if not close(latents[name], latents[other])] == []
    assert latents["knob_off"].equal(latents["off"]) and latents["bare_rescaled"].equal(latents["bare"])


def test_two_nodes_on_one_reference_are_rescaled_once_and_references_of_no_node_stay(server):
    s = Scene("Flux Kontext")
    first = {"reference": 1, "start_at": 0.0, "end_at": 1.0}

    def weigh(model: Link, weight: float) -> Link:
        return s.graph.add("IPAdapterReferenceWeights", model=model, weight=weight, **first)[0]

    twice = weigh(weigh(s.model, 0.5), 0.8)
    latents = s.latents(
        server,
        knob=s.rescaled(twice, 0.5),
        by_hand=weigh(s.model, 0.2),
        all=s.referred(0.2),
        both=s.rescaled(weigh(s.referred(0.5), 0.8), 0.5),
        both_by_hand=weigh(s.referred(0.25), 0.8),
    )
    assert close(latents["knob"], latents["by_hand"]) and close(latents["both"], latents["both_by_hand"])
    assert not close(latents["knob"], latents["all"]) and not close(latents["knob"], latents["both"])


REFUSED = {
    "sd15": {
        1.5: "is 1.2: it is a share of the attention.*write factors such as 0.5, 1",
        -0.5: "is -0.4: it is a share of the attention",
    },
    "Flux Kontext": {-0.5: "down to -0.5: a reference can be left out .0., not subtracted"},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_factors_that_a_reference_cannot_have_are_refused(server, kind):
    for factor, words in REFUSED[kind].items():
        s = Scene(kind)
        with pytest.raises(PromptError, match=words) as refused:
            s.latents(server, never=s.rescaled(s.referred(0.8), factor))
        assert refused.value.node_type == "IPAdapterRescale"


@pytest.mark.parametrize("kind", ["sd15", "Flux Kontext"])
def test_a_sweep_is_over_the_layers_of_references_without_an_adapter(server, kind):
    s = Scene(kind)
    text = {"layers": "0, 2", "factors": "0.5, 1", "others": 0.25, "cell": 64}
    swept = s.graph.add("IPAdapterLayerSweep", model=s.referred(0.8), vae=s.vae, **s.links, **text, **ONE_STEP)
    s.graph.save("images", swept[1])
    last = s.referred(0.8, schedule=s.schedule("all:0.25, 2:1"))
    sampled = s.graph.add("KSampler", model=last, **s.links, **ONE_STEP)
    s.graph.save("last", s.graph.add("VAEDecode", samples=sampled[0], vae=s.vae)[0])
    result = server.run(s.graph)
    images = result.tensor("images")
    assert len(images) == 4 and len({image.numpy().tobytes() for image in images}) == 4
    assert torch.allclose(images[3:], result.tensor("last"), rtol=0, atol=1e-3)


def test_a_study_weighs_the_adapter_beside_a_riding_reference_that_stays(server):
    s = Scene("sd15")
    models = {
        "ipadapter": s.graph.add("IPAdapterModelLoader", ipadapter_file="ip-adapter_sd15.safetensors")[0],
        "clip_vision": s.graph.add("TestClipVision", seed=3)[0],
        "scorer": s.graph.add("TestClipVision", seed=4, text=True)[0],
    }
    inputs = models | s.links | {key: ONE_STEP[key] for key in ONE_STEP if key != "denoise"}
    widgets = {"prompt": "a boat", "weights": "0, 0.5, 1", "weight_types": "linear", "cell": 64}
    ridden, tables = s.referred(0.8), []
    for model in (ridden, s.model, apply(s.graph, ridden, weight=0.0)[0]):
        studied = s.graph.add(
            "IPAdapterStudy", model=model, references=s.pixels, vae=s.vae, **widgets, **inputs
        )  # fmt: skip
        tables.append(s.graph.add("PreviewAny", source=studied[2]))
    result = server.run(s.graph)
    beside, alone, silenced = (result.outputs[table.id]["text"][0].splitlines()[1:] for table in tables)
    assert beside == silenced and len(beside) == 3
    assert all(one != other for one, other in zip(beside, alone, strict=True))


def test_an_attention_map_of_a_riding_reference_is_refused_or_left_out_with_the_reason(server):
    s = Scene("sd15")
    s.graph.add("PreviewAny", source=s.graph.add("IPAdapterAttentionRecorder", model=s.referred(0.5))[1])
    with pytest.raises(PromptError, match="no other reference to record. References of IPAdapter Reference Attention"):
        server.run(s.graph)
    s = Scene("sd15")
    recorder = s.graph.add("IPAdapterAttentionRecorder", model=apply(s.graph, s.referred(0.5), weight=0.8)[0])
    before = server.log.count("References of IPAdapter Reference Attention are not recorded")
    latents = s.latents(server, watched=recorder[0], unwatched=apply(s.graph, s.referred(0.5), weight=0.8)[0])
    assert latents["watched"].equal(latents["unwatched"])
    assert server.log.count("References of IPAdapter Reference Attention are not recorded") == before + 1


@pytest.mark.parametrize("kind", ["Flux Kontext", "Qwen-Image-Edit"])
def test_an_attention_map_shows_where_each_reference_of_an_edit_model_is_followed(server, kind):
    s = Scene(kind)
    black, white = (s.graph.add("SolidMask", value=v, width=w, height=64)[0] for v, w in ((0.0, 48), (1.0, 24)))
    left = s.graph.add("MaskComposite", destination=black, source=white, x=0, y=0, operation="add")[0]
    first = {"reference": 1, "weight": 1.0, "start_at": 0.0, "end_at": 1.0, "attn_mask": left}
    weighed = s.graph.add("IPAdapterReferenceWeights", model=s.model, **first)[0]
    recorder = s.graph.add("IPAdapterAttentionRecorder", model=weighed)
    sampled = s.graph.add("KSampler", model=recorder[0], **s.links, **ONE_STEP)[0]
    picture = s.graph.add("VAEDecode", samples=sampled, vae=s.vae)[0]
    shown = {"layers": "0", "start": 0.0, "end": 1.0, "contrast": "share", "opacity": 0.5}
    for number in (0, 1, 2):
        shown |= {"attention": recorder[1], "image": picture, "reference": number}
        s.graph.save(f"map {number}", s.graph.add("IPAdapterAttentionMap", **shown)[0])
    s.graph.save("watched", sampled)
    s.graph.save("unwatched", s.graph.add("KSampler", model=weighed, **s.links, **ONE_STEP)[0])
    result = server.run(s.graph)
    both, masked, whole = (result.tensor(f"map {number}") for number in (0, 1, 2))
    edge = 8  # pixels, half a token: between the centres of tokens a map is interpolated
    assert masked[..., :edge].min() > 0.01 and masked[..., -edge:].max() == 0
    assert whole.min() > 0.01 and torch.allclose(both, masked + whole, rtol=0, atol=1e-5)
    assert result.tensor("watched").equal(result.tensor("unwatched"))
    s.graph.save("none", s.graph.add("IPAdapterAttentionMap", **(shown | {"reference": 3}))[0])
    with pytest.raises(PromptError, match="has no reference 3: it has 2 of the model's own"):
        server.run(s.graph)


def test_a_preview_draws_the_layers_of_an_edit_model(server):
    sizes = {}
    for kind in ("Qwen-Image-Edit", "Flux Kontext"):
        s = Scene(kind)
        preview = {"schedule": s.schedule("all, 1:0.5"), "family": "SD1.5", "model": s.referred(0.5)}
        shown = s.graph.add("IPAdapterSchedulePreview", **preview)
        sizes[kind] = server.run(s.graph).images(shown.id)[0].size
    assert sizes["Flux Kontext"][1] > sizes["Qwen-Image-Edit"][1]  # four layers, three layers
