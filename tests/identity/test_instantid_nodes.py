"""InstantID's nodes in a running ComfyUI, as saved graphs have them: one person, two persons, one half at a time."""

import shutil
from typing import Any

import pytest
import torch

import synthetic
from faces import assets
from harness.assets import instantid
from harness.client import PromptError
from harness.graph import Graph, Link
from harness.sampling import TOKENS, sample
from pack.encoders.faces import faces_in
from pack.encoders.keypoints import keypoint_picture

PHOTOS = ("astronaut", "hopper", "six people", "cat")
RANGE = {"start_at": 0.0, "end_at": 1.0}


@pytest.fixture(scope="module")
def instantid_server(server):
    """The server with a small InstantID adapter where users keep it, antelopev2 one folder too deep, and photos."""
    models = server.base / "models"
    (models / "instantid").mkdir(exist_ok=True)
    synthetic.save(instantid(), models / "instantid" / "ip-adapter.bin")
    packs = models / "insightface" / "models"
    assets.write_face_packs(packs / "antelopev2", ("antelopev2",))  # as its zip unpacks
    assets.write_face_packs(packs, ("buffalo_l",))
    for name in PHOTOS:
        source = assets.PHOTOS[name]()
        shutil.copy(source, server.base / "input" / f"{name}{source.suffix}")
    return server


class Person:
    """A graph with what every InstantID node needs."""

    def __init__(self, server: Any) -> None:
        self.server, g = server, Graph()
        self.graph = g
        self.model: Link = g.add("TestModel", family="sdxl shallow", seed=1)[0]
        self.sockets = {
            "instantid": g.add("InstantIDModelLoader", instantid_file="ip-adapter.bin")[0],
            "insightface": g.add("InstantIDFaceAnalysis", provider="CPU")[0],
        }
        self.canvas: Link = g.add("EmptyLatentImage", width=128, height=64, batch_size=1)[0]
        self.net: Link = g.add("TestControlNet", control_net_name="instantid_sdxl")[0]

    def text(self, seed: int) -> Link:
        return self.graph.add("TestConditioning", family="sdxl", seed=seed, tokens=TOKENS)[0]

    def picture(self, name: str) -> Link:
        return self.graph.add("LoadImage", image=f"{name}{assets.PHOTOS[name]().suffix}")[0]

    def apply(self, node: str = "ApplyInstantID", photo: str = "astronaut", **more: Any) -> Any:
        """One of the two Apply nodes with the inputs of a saved graph."""
        numbers: dict[str, Any] = {"weight": 0.8}
        if node == "ApplyInstantIDAdvanced":
            numbers = {"ip_weight": 0.8, "cn_strength": 0.8, "noise": 0.35, "combine_embeds": "average"}
        texts = {"positive": self.text(10), "negative": self.text(20), "control_net": self.net, "model": self.model}
        given = self.sockets | RANGE | texts | numbers | {"image": self.picture(photo)} | more
        return self.graph.add(node, **given)

    def sample(self, name: str, model: Link, positive: Link, negative: Link, **more: Any) -> None:
        given = {"positive": positive, "negative": negative, "steps": 1, **more}
        self.graph.save(name, sample(self.graph, model, size=(128, 64), **given)[0])

    def latents(self, *names: str) -> list[torch.Tensor]:
        result = self.server.run(self.graph)
        return [result.tensor(name) for name in names]


def test_saved_graphs_with_one_node_with_two_halves_and_with_a_preset_give_one_picture(instantid_server):
    p = Person(instantid_server)
    plain, advanced = p.apply(canvas=p.canvas), p.apply("ApplyInstantIDAdvanced", canvas=p.canvas)
    patch = p.graph.add(
        "InstantIDAttentionPatch", image=p.picture("astronaut"), model=p.model, weight=0.8, noise=0.35, **RANGE,
        **p.sockets,
    )  # fmt: skip
    photo = {"image": p.picture("astronaut"), "canvas": p.canvas}
    drawn = p.graph.add("FaceKeypointsPreprocessor", faceanalysis=p.sockets["insightface"], **photo)
    halves = p.graph.add(
        "ApplyInstantIDControlNet", face_embeds=patch[1], control_net=p.net, image_kps=drawn[0],
        positive=p.text(10), negative=p.text(20), strength=0.8, **RANGE,
    )  # fmt: skip
    unified = p.graph.add(
        "IPAdapterUnifiedLoaderFaceID", preset="INSTANTID", model=p.model, lora_strength=0.0, provider="CPU"
    )  # fmt: skip
    one_loader = p.apply(instantid=unified[1], insightface=unified[1], model=unified[0], canvas=p.canvas)
    p.sample("bare", p.model, p.text(10), p.text(20))
    p.sample("one loader", *(one_loader[n] for n in range(3)))
    p.sample("plain", *(plain[n] for n in range(3)))
    p.sample("advanced", *(advanced[n] for n in range(3)))
    p.sample("halves", patch[0], halves[0], halves[1])
    bare, *others = p.latents("bare", "plain", "advanced", "halves", "one loader")
    assert not bare.equal(others[0])
    assert all(other.equal(others[0]) for other in others)


def test_any_face_of_a_photo_is_drawn_shown_and_taken_for_the_pose(instantid_server, analysis):
    p = Person(instantid_server)
    one = {"face": "left-most", "missing_face": "error", "least_score": 0.0, "insightface": p.sockets["insightface"]}
    group = p.picture("six people")
    second, everybody = (
        p.graph.add("IPAdapterFaceKeypoints", image=group, people=people, face_index=1, **one | more)
        for people, more in (("one face", {"canvas": p.canvas}), ("every face", {}))
    )
    drawn_hopper = p.graph.add(
        "IPAdapterFaceKeypoints", image=p.picture("hopper"), people="one face", face_index=0, canvas=p.canvas, **one
    )
    for name, link in (("second", second[0]), ("everybody", everybody[0]), ("image", group)):
        p.graph.save(name, link)
    for name, kps in (("drawing", drawn_hopper[0]), ("photo", p.picture("hopper")), ("group", second[0])):
        p.sample(name, *(p.apply(image_kps=kps, canvas=p.canvas)[n] for n in range(3)))
    result = instantid_server.run(p.graph)
    image = result.tensor("image")  # ComfyUI decodes a JPEG with other rounding than Pillow
    found = faces_in(analysis, image, 0.0)[0]
    from_left = found[(found[:, 0] + found[:, 2]).argsort(stable=True)]
    size = (image.shape[1], image.shape[2])
    assert result.tensor("second")[0].equal(keypoint_picture(from_left[1:2], size, (64, 128)))
    assert result.tensor("everybody")[0].equal(keypoint_picture(found, size, size))
    assert result.images(second.id)[0].size == (128, 64)
    drawing, of_photo, of_group = (result.tensor(name) for name in ("drawing", "photo", "group"))
    assert drawing.equal(of_photo) and not drawing.equal(of_group)


def test_the_pose_is_that_of_the_first_photo_with_a_face(instantid_server):
    p = Person(instantid_server)
    nobody = p.graph.add("EmptyImage", width=512, height=512, batch_size=1, color=0)[0]
    second = p.graph.add("ImageBatch", image1=nobody, image2=p.picture("astronaut"))[0]
    for name, image in (("second", second), ("alone", p.picture("astronaut"))):
        applied = p.apply(image=image, canvas=p.canvas)
        p.sample(name, *(applied[n] for n in range(3)))
    latents = p.latents("second", "alone")
    assert latents[0].equal(latents[1])


def halves(p: Person) -> Any:
    """Two masks: output 1 is the left half of the canvas, output 2 the right half."""
    return p.graph.add(
        "IPAdapterSplitCanvas", split="columns", columns=2, rows=1, softness=0.0, width=128, height=64, widths="",
        heights="",
    )  # fmt: skip


def test_each_person_takes_the_face_of_a_group_that_lies_in_the_mask_or_a_photo_moves_into_it(instantid_server):
    p = Person(instantid_server)
    masks, group, single = halves(p), p.picture("six people"), p.picture("hopper")
    keypoints = {"people": "one face", "face": "largest", "insightface": p.sockets["insightface"], "canvas": p.canvas}
    for place, photo in (("the face in the mask", group), ("the photo in the mask", single)):
        for side, mask in (("left", masks[1]), ("right", masks[2])):
            drawing = p.graph.add("IPAdapterFaceKeypoints", image=photo, mask=mask, place=place, **keypoints)
            p.graph.save(f"{place} {side}", drawing[0])
            for name, kps, more in (("drawn", drawing[0], {}), ("placed", photo, {"place": place})):
                applied = p.apply(image_kps=kps, mask=mask, canvas=p.canvas, mask_limits="face", **more)
                p.sample(f"{name} {place} {side}", *(applied[n] for n in range(3)))
    result = instantid_server.run(p.graph)
    for place in ("the face in the mask", "the photo in the mask"):
        middles = []
        for side in ("left", "right"):
            assert result.tensor(f"drawn {place} {side}").equal(result.tensor(f"placed {place} {side}"))
            columns = result.tensor(f"{place} {side}")[0].amax(dim=(0, 2)).nonzero()
            middles.append(columns.float().mean().item())
        assert middles[0] < 64 < middles[1], place
        assert not result.tensor(f"drawn {place} left").equal(result.tensor(f"drawn {place} right"))
    p = Person(instantid_server)
    applied = p.apply(image_kps=p.picture("hopper"), place="the photo in the mask")
    p.sample("latent", *(applied[n] for n in range(3)))
    with pytest.raises(PromptError, match="connect a mask, or choose 'as in the photo'"):
        p.latents("latent")


def test_two_persons_in_two_halves_have_no_order(instantid_server):
    p = Person(instantid_server)
    masks = halves(p)

    def chain(name: str, *people: tuple[str, int], together: bool) -> None:
        """Persons by photo and number of the region; with texts of their own, or `together` in one text."""
        model, texts, positives, negatives = p.model, (p.text(10), p.text(20)), [], []
        for photo, region in people:
            more = {"mask_limits": "face"} if together else {}
            applied = p.apply(
                photo=photo, model=model, mask=masks[region], canvas=p.canvas, positive=texts[0], negative=texts[1],
                **more,
            )  # fmt: skip
            model, texts = applied[0], (applied[1], applied[2]) if together else texts
            positives, negatives = [*positives, applied[1]], [*negatives, applied[2]]
        if not together:
            texts = tuple(
                p.graph.add("ConditioningCombine", conditioning_1=one, conditioning_2=two)[0]
                for one, two in (positives, negatives)
            )
        p.sample(name, model, *texts)

    one, other = ("astronaut", 1), ("hopper", 2)
    for way in (False, True):
        chain(f"forth {way}", one, other, together=way)
        chain(f"back {way}", other, one, together=way)
        chain(f"swapped {way}", ("hopper", 1), ("astronaut", 2), together=way)
    names = [f"{name} {way}" for way in (False, True) for name in ("forth", "back", "swapped")]
    latents = p.latents(*names)
    for forth, back, swapped in (latents[:3], latents[3:]):
        torch.testing.assert_close(forth, back, rtol=0, atol=1e-3)  # float32 sums in another order, latents near 10
        assert (forth - swapped).abs().max() > 0.1
    assert not latents[0].equal(latents[3])  # texts of their own are limited too


def test_what_cannot_work_is_refused_before_sampling(instantid_server):
    def loader(node: str, **inputs: Any) -> Any:
        return lambda p: p.graph.add(node, **inputs)[0]

    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        ("No face found in image 1 of 1", {"photo": "cat"}),
        (
            "The face pack is buffalo_l, and InstantID was trained with antelopev2",
            {"insightface": loader("IPAdapterInsightFaceLoader", provider="CPU", model_name="buffalo_l")},
        ),
        (
            r"ip-adapter.bin was made for SDXL \(text 2048 wide\), and the model is SD1.5",
            {"model": loader("TestModel", family="sd15", seed=1)},
        ),
        (
            "is a standard adapter, and this node takes InstantID's",
            {"instantid": loader("IPAdapterModelLoader", ipadapter_file="ip-adapter_sd15.safetensors")},
        ),
        ("The ControlNet reads text 768 wide", {"control_net": loader("TestControlNet", control_net_name="a")}),
        (r"start_at \(0.9\) lies after end_at", {"start_at": 0.9, "end_at": 0.1}),
    )
    for message, changed in cases:
        p = Person(instantid_server)
        inputs: dict[str, Any] = {name: value(p) if callable(value) else value for name, value in changed.items()}
        applied = p.apply(**inputs)
        p.sample("latent", *(applied[n] for n in range(3)))
        with pytest.raises(PromptError, match=f"ApplyInstantID: .*{message}"):
            p.latents("latent")
