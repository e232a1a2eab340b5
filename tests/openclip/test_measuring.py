"""Subtract Text and Score in a running ComfyUI, with the demo's models and with an OpenCLIP file."""

import csv

import pytest
import torch

from harness.client import Client
from harness.graph import Graph, Node
from openclip.files import save, small_openclip

CONTENT, OTHERS = "fish", ("circle", "triangle", "star", "heart", "moon", "house", "tree", "boat", "mountains")


@pytest.fixture(scope="module")
def models(server: Client) -> Client:
    save(small_openclip().state_dict(), server.output.parent / "models" / "open_clip" / "towers.safetensors")
    return server


def demo(g: Graph, adapter: str = "standard") -> Node:
    return g.add("IPAdapterDemoLoader", adapter=adapter)


def openclip(g: Graph) -> Node:
    return g.add(
        "IPAdapterOpenCLIPLoader", file="towers.safetensors", architecture="auto", activation="auto", precision="fp32",
        fit="auto",
    )  # fmt: skip


def encoded(g: Graph, models: Node, picture: str = "navy on stripes") -> Node:
    reference = g.add("IPAdapterDemoReference", picture=picture)
    return g.add("IPAdapterEncoder", ipadapter=models[2], image=reference[0], weight=1.0, clip_vision=models[1])


def without(g: Graph, embeds: Node, clip_vision: list, words: str, **more: object) -> Node:
    numbers = {"strength": 0.3, "method": "subtract"} | more
    return g.add("IPAdapterSubtractText", embeds=embeds[0], clip_vision=clip_vision, words=words, **numbers)


def scored(g: Graph, images: list, clip_vision: list, prompt: str = "", **more: object) -> Node:
    return g.add("IPAdapterScore", images=images, clip_vision=clip_vision, prompt=prompt, **more)


def words_of_the_demo() -> torch.Tensor:
    from pack.nodes.loading.demo_models import DemoTexts

    return DemoTexts().encode_text([CONTENT, *OTHERS])


@pytest.mark.parametrize("method", ["subtract", "project out"])
def test_the_content_goes_out_of_a_pictures_embeds_and_other_words_stay(models, method):
    """With the demo's vision encoder and the vectors of its words, for a drawn picture of the content."""
    g = Graph()
    parts = demo(g)
    embeds = encoded(g, parts)  # of a picture that shows a fish
    left = without(g, embeds, parts[1], CONTENT, method=method, strength=0.3 if method == "subtract" else 1.0)
    g.save("before", embeds[0])
    g.save("after", left[0])
    result = models.run(g)
    before, after, words = result.tensor("before"), result.tensor("after"), words_of_the_demo()
    fall = ((before - after) @ words.T / before.norm())[0]  # of the similarity with every word
    assert fall[0] > 0.25
    related = (words @ words[0]) / words[0].norm()
    # A word that has to do with a fish falls with it, one that has not stays: by the cosine of the two words.
    torch.testing.assert_close(fall, fall[0] * related, rtol=0, atol=1e-3)  # the vectors' 16-bit lengths
    assert fall.abs().min() < fall[0] / 8, fall  # triangle, heart, moon: they have little to do with it


def test_a_pair_that_does_not_fit_is_refused(models):
    g = Graph()
    parts, plus = demo(g), demo(g, "plus")
    g.save("one", without(g, encoded(g, plus), plus[1], CONTENT)[0])
    with pytest.raises(RuntimeError, match="takes hidden states.*Pairs that work"):
        models.run(g)
    g = Graph()
    parts = demo(g)
    g.save("one", without(g, encoded(g, parts), openclip(g)[0], "a fish")[0])
    with pytest.raises(RuntimeError, match="128 wide and the text tower's 32"):
        models.run(g)
    g = Graph()
    parts = demo(g)
    g.save("one", without(g, encoded(g, parts), g.add("TestClipVision", seed=3)[0], "a fish")[0])
    with pytest.raises(RuntimeError, match="no text tower.*IPAdapter OpenCLIP Loader"):
        models.run(g)


def test_scores_of_known_pairs(models):
    """A picture and itself give 1; two pictures and their mean stand in the table, which is the numbers of the node."""
    g = Graph()
    one, other = (g.add("TestImage", seed=seed)[0] for seed in (1, 2))
    vision = openclip(g)[0]
    same = scored(g, one, vision, references=one)
    both = scored(g, g.add("ImageBatch", image1=one, image2=other)[0], vision, "a cat", references=one)
    previews = [g.add("PreviewAny", source=link) for link in (same[0], both[0], both[1], both[2])]
    result = models.run(g)
    shown = [result.outputs[preview.id]["text"][0] for preview in previews]
    assert float(shown[0]) == pytest.approx(1, abs=1e-5)
    rows = list(csv.DictReader(shown[3].splitlines()))
    assert float(rows[0]["CLIP-I"]) == pytest.approx(1, abs=1e-4) and [row["picture"] for row in rows] == ["1", "2"]
    for name, value in (("CLIP-I", shown[1]), ("CLIP-T", shown[2])):
        assert float(value) == pytest.approx(sum(float(row[name]) for row in rows) / 2, abs=1e-4)
    assert result.outputs[both.id]["text"][0].endswith("(2 pictures)") and result.images(both.id)


def test_the_demos_words_are_told_from_each_other(models):
    g = Graph()
    parts = demo(g)
    prompt = g.add("IPAdapterDemoPrompt", words="star")
    empty = g.add("IPAdapterDemoPrompt", words="")
    latent = g.add("EmptyLatentImage", width=96, height=96, batch_size=2)
    sampled = g.add(
        "KSampler", model=parts[0], positive=prompt[0], negative=empty[0], latent_image=latent[0], seed=1, steps=4,
        cfg=2.0, sampler_name="euler", scheduler="normal", denoise=1.0,
    )  # fmt: skip
    images = g.add("VAEDecode", samples=sampled[0], vae=parts[3])
    previews = [g.add("PreviewAny", source=scored(g, images[0], parts[1], word)[1]) for word in ("star", "house")]
    result = models.run(g)
    star, house = (float(result.outputs[preview.id]["text"][0]) for preview in previews)
    assert star > house + 0.2


def study(g: Graph, prompt: str = "house", **more: object) -> Node:
    """A study with the demo's models, which are their own scorer: there is no second encoder that runs anywhere."""
    parts = demo(g)
    positive, negative = (g.add("IPAdapterDemoPrompt", words=words) for words in ("house", ""))
    latent = g.add("EmptyLatentImage", width=96, height=96, batch_size=2)
    links = {"model": parts[0], "ipadapter": parts[2], "scorer": parts[1], "clip_vision": parts[1], "vae": parts[3]}
    links |= {"positive": positive[0], "negative": negative[0], "latent_image": latent[0]}
    links["references"] = g.add("IPAdapterDemoReference", picture="navy on stripes")[0]
    numbers = {"weights": "1, 0, 0.5", "weight_types": "linear, style transfer", "seed": 3, "steps": 4, "cfg": 2.0}
    choices = {"sampler_name": "euler", "scheduler": "normal", "cell": 96, "prompt": prompt}
    return g.add("IPAdapterStudy", **(links | numbers | choices | more))


def test_a_study_measures_every_cell_and_names_a_weight(models):
    g = Graph()
    node = study(g)
    table, weight = (g.add("PreviewAny", source=node[slot]) for slot in (2, 3))
    g.save("sheet", node[0])
    result = models.run(g)
    rows = list(csv.DictReader(result.outputs[table.id]["text"][0].splitlines()))
    assert [(row["weight type"], row["weight"], row["picture"]) for row in rows] == [
        (kind, weight, picture) for kind in ("linear", "style transfer") for weight in ("0.0", "0.5", "1.0")
        for picture in ("1", "2")
    ]  # fmt: skip

    def mean(kind: str, weight: str) -> float:
        return sum(float(r["CLIP-I"]) for r in rows if (r["weight type"], r["weight"]) == (kind, weight)) / 2

    assert mean("linear", "1.0") > mean("linear", "0.0") + 0.05  # it follows the reference
    assert mean("linear", "0.0") == mean("style transfer", "0.0")  # nothing was applied
    answer = result.outputs[node.id]["text"][0].splitlines()
    assert [line[:5] for line in answer] == ["1: li", "1: st"] and result.images(node.id)
    assert float(result.outputs[weight.id]["text"][0]) in (0.0, 0.5, 1.0)
    assert result.tensor("sheet").shape[1] > 2 * 96 and result.tensor("sheet").shape[2] > 3 * 96


def test_the_answer_of_a_study_stands_on_its_node(monkeypatch):
    from pack.encoders.scores import Score
    from pack.nodes import study as node

    said: list[str] = []
    monkeypatch.setattr(node, "say_on_node", said.append)
    pictures, scores = [torch.zeros(1, 8, 8, 3)] * 3, [[Score(x, y)] for x, y in ((0.1, 0.3), (0.5, 0.2), (0.6, 0.1))]
    made = node.study_output([(0, "linear")], [0, 0.5, 1], pictures, scores, 64, node.IPAdapterStudy)
    assert said == [made.result[4]] and said[0].startswith("1: linear")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weights": "0, 1"}, "at least three"),
        ({"weight_types": "linear, stronger"}, "'stronger' is no weight type"),
        ({"prompt": " "}, "write in prompt"),
        ({"scorer": "small"}, "no text tower"),
    ],
)
def test_what_a_study_cannot_do_is_said_before_it_samples(models, wrong, said):
    """The text is of another width than the model's, so that sampling would raise."""
    g = Graph()
    parts = {"scorer": g.add("TestClipVision", seed=3)[0]} if "scorer" in wrong else {}
    study(g, positive=g.add("TestConditioning", family="flux", seed=1, tokens=5)[0], **(wrong | parts))
    with pytest.raises(RuntimeError, match=said):
        models.run(g)


@pytest.mark.parametrize(("marked", "ends"), [(1, "weight 1 (CLIP-I 0.500, CLIP-T 0.200)"), (2, "try larger ones")])
def test_a_knee_at_the_largest_weight_says_that_there_may_be_better_ones(marked, ends):
    from pack.charts.score_chart import Series
    from pack.nodes.study import answer_of

    points = [(0.3, 0.1), (0.2, 0.5), (0.25, 0.7)]  # CLIP-T, CLIP-I
    assert answer_of(Series("1: linear", points, ["0", "1", "2"], marked)).endswith(ends)
