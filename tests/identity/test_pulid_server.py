"""PuLID in a running ComfyUI: graphs as the packs that had it first saved them, with a real face."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("insightface", reason="faces need insightface")

from faces import assets
from harness.client import PromptError
from harness.graph import Graph
from harness.sampling import sample
from harness.transformers import model as flux_model, sample as flux_sample
from identity.pulid_files import pulid
from pack.encoders.face_parsing import FaceParser
from test_nodes_pack.unets import seed_weights

FLUX = "pulid_flux_v0.9.1.safetensors"
V11 = "pulid_v1.1 of two layers.safetensors"  # lessons run with a larger one under the published name
NUMBERS = {"weight": 1.0, "start_at": 0.0, "end_at": 1.0}
EF = {  # what another pack appends
    "fusion": "train_weight", "fusion_weight_max": 1.0, "fusion_weight_min": 0.0, "train_step": 1000, "use_gray": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def people(server):
    """The server with small PuLIDs, the face pack that they ask for, and photos."""
    models = server.base / "models"
    (models / "pulid").mkdir(exist_ok=True)
    torch.save(pulid("pulid_v1.bin", channels=[64, 32]), models / "pulid" / "pulid_v1.bin")
    save_file(pulid("pulid_v1.1.safetensors", channels=[64, 32]), models / "pulid" / V11)
    save_file({name: t.contiguous() for name, t in pulid(FLUX).items()}, models / "pulid" / FLUX)
    assets.write_face_packs(models / "insightface" / "models", ["antelopev2", "buffalo_l"])
    for name in ("astronaut", "six people"):
        source = assets.PHOTOS[name]()
        shutil.copy(source, server.base / "input" / f"{name}{source.suffix}")
    return server


def photo(g, name="astronaut"):
    return g.add("LoadImage", image=f"{name}{assets.PHOTOS[name]().suffix}")[0]


def sockets(g, flux=False, file="pulid_v1.bin"):
    """The links of a saved graph."""
    middle, socket = ("Flux", "pulid_flux") if flux else ("", "pulid")
    return {
        socket: g.add(f"Pulid{middle}ModelLoader", pulid_file=FLUX if flux else file)[0],
        "eva_clip": g.add("TestEvaClip", seed=4)[0],
        "face_analysis": g.add(f"Pulid{middle}InsightFaceLoader", provider="CPU")[0],
        "image": photo(g),
    }


def sdxl(g):
    return g.add("TestModel", family="two layers", seed=1)[0]


def test_the_methods_of_the_simple_node_are_settings_of_the_advanced_node_and_differ(people):
    g = Graph()
    links = {"model": sdxl(g), **sockets(g)}
    for method, rule, zeros in (("fidelity", "ortho_v2", 8), ("style", "ortho", 16), ("neutral", "none", 0)):
        simple = g.add("ApplyPulid", method=method, **NUMBERS, **links)
        advanced = g.add("ApplyPulidAdvanced", projection=rule, fidelity=zeros, noise=0.0, **NUMBERS, **links)
        for name, node in ((method, simple), (f"{method} apart", advanced)):
            g.save(name, sample(g, node[0], "sdxl")[0])
    off = g.add("ApplyPulid", method="style", **{**NUMBERS, "weight": 0.0}, **links)
    g.save("off", sample(g, off[0], "sdxl")[0])
    g.save("bare", sample(g, links["model"], "sdxl")[0])
    result = people.run(g)
    found = {name: result.tensor(name) for name in ("fidelity", "style", "neutral", "bare")}
    assert all(torch.equal(found[name], result.tensor(f"{name} apart")) for name in ("fidelity", "style", "neutral"))
    assert len({tuple(x.flatten().tolist()) for x in found.values()}) == 4
    assert torch.equal(result.tensor("off"), found["bare"])


def test_a_face_parser_that_was_added_is_used_in_the_next_run(people):
    g = Graph()
    applied = g.add("ApplyPulid", method="fidelity", **NUMBERS, model=sdxl(g), **sockets(g))
    g.save("person", sample(g, applied[0], "sdxl")[0])
    before = people.run(g).tensor("person")
    assert applied.id in people.run(g).cached
    parser = FaceParser()
    seed_weights(parser, 1)
    file = people.base / "models" / "facexlib" / "parsing_bisenet.pth"
    file.parent.mkdir(exist_ok=True)
    torch.save(parser.state_dict(), file)
    parsed = people.run(g).tensor("person")
    file.unlink()
    assert not torch.equal(parsed, before) and torch.equal(people.run(g).tensor("person"), before)


def test_a_person_in_a_flux_by_each_pack_s_form_of_the_node(people):
    g = Graph()
    links = {"model": flux_model(g, "flux"), **sockets(g, flux=True)}
    options = g.add(
        "PulidFluxOptions", input_faces_order="large-small", input_faces_index=0, input_faces_align_mode=0
    )  # fmt: skip
    forms = {"first": {}, "options": {"options": options[0]}, "fusion": EF, "colour": {**EF, "use_gray": False}}
    for name, more in forms.items():
        applied = g.add("ApplyPulidFlux", **NUMBERS, **links, **more)
        handed_on = g.add("FixPulidFluxPatch", model=applied[0])
        g.save(name, flux_sample(g, handed_on[0], "flux", steps=1)[0])
    g.save("bare", flux_sample(g, links["model"], "flux", steps=1)[0])
    result = people.run(g)
    first, bare = result.tensor("first"), result.tensor("bare")
    assert not torch.equal(first, bare) and first.isfinite().all()
    assert torch.equal(result.tensor("options"), first) and torch.equal(result.tensor("fusion"), first)
    assert not torch.equal(result.tensor("colour"), first)


def test_the_face_of_a_group_can_be_chosen_and_is_shown(people):
    g = Graph()
    shown = {}
    orders = {  # with the loaders of both packs
        ("left-right", 0): "PulidFluxInsightFaceLoader", ("right-left", 0): "PulidFluxInsightFaceLoader",
        ("left-right", 5): "PulidInsightFaceLoader",
    }  # fmt: skip
    for (order, index), loader in orders.items():
        face_models = g.add(loader, provider="CPU")[0]
        options = g.add(
            "PulidFluxOptions", input_faces_order=order, input_faces_index=index, input_faces_align_mode=1
        )  # fmt: skip
        found = g.add(
            "PulidFluxFaceDetector", face_analysis=face_models, image=photo(g, "six people"), options=options[0]
        )  # fmt: skip
        shown[order, index] = f"{order} {index}"
        g.save(shown[order, index], found[1])
    result = people.run(g)
    first, last, sixth = (result.tensor(name) for name in shown.values())
    assert first.shape == (1, 512, 512, 3) and torch.equal(last, sixth) and not torch.equal(first, last)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no face", "No face found"),
        ("sdxl file for flux", "Load PuLID Model"),
        ("flux file for sdxl", "Load PuLID Flux Model"),
        ("sd15", "SDXL"),
        ("other pack", "antelopev2"),
        ("other encoder", "EVA02-CLIP"),
        ("no encoder file", "EVA02_CLIP_L_336_psz14_s6B.pt"),
        ("no encoder file for flux", "EVA02_CLIP_L_336_psz14_s6B.pt"),
    ],
)
def test_what_cannot_work_is_refused_before_sampling_with_what_to_do(people, case, words):
    g = Graph()
    links = {"model": sdxl(g), **sockets(g)}
    if case == "no face":
        links["image"] = g.add("EmptyImage", width=256, height=256, batch_size=1, color=0)[0]
    if case == "sdxl file for flux":
        links["pulid"] = g.add("PulidFluxModelLoader", pulid_file=V11)[0]
    if case == "flux file for sdxl":
        links["pulid"] = g.add("PulidModelLoader", pulid_file=FLUX)[0]
    if case == "sd15":
        links["model"] = g.add("TestModel", family="sd15", seed=1)[0]
    if case == "other pack":
        links["face_analysis"] = g.add("IPAdapterInsightFaceLoader", provider="CPU", model_name="buffalo_l")[0]
    if case == "other encoder":
        links["eva_clip"] = g.add("TestClipVision", seed=3)[0]
    if case == "no encoder file":
        links["eva_clip"] = g.add("PulidEvaClipLoader")[0]
    if case == "no encoder file for flux":
        links["eva_clip"] = g.add("PulidFluxEvaClipLoader")[0]
    if case == "sdxl file for flux":
        links["pulid_flux"] = links.pop("pulid")
        node = g.add("ApplyPulidFlux", **NUMBERS, **links)
    else:
        node = g.add("ApplyPulid", method="fidelity", **NUMBERS, **links)
    g.save("refused", sample(g, node[0], "sdxl")[0])
    with pytest.raises(PromptError, match=words):
        people.run(g)
