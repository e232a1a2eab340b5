"""A chain of FaceID on an SDXL in the server that also runs image prompts on Flux and SD3.5."""

import torch

from faces.graphs import face_node
from harness import transformers
from harness.graph import Graph
from harness.sampling import sample


def chain(g):
    """Two faces with their LoRA, as FaceID is used on SDXL: a plain adapter, and one with its own CLIP features."""
    adapter = g.add("IPAdapterModelLoader", ipadapter_file="faceid_sdxl.safetensors")[0]
    model = g.add("TestModel", family="sdxl shallow", seed=1)[0]
    model = g.add("IPAdapterFaceIDLoRA", model=model, ipadapter=adapter, strength=0.6)[0]
    model = face_node(g, model, "faceid_sdxl.safetensors", weight=0.8)[0]
    return face_node(g, model, "faceid-plusv2_sdxl.bin", photo="hopper", weight_type="style transfer")[0]


def faces(server):
    """The latent of the chain, all of it run again but the encoder that the transformers' graphs have too."""
    g = Graph()
    g.save("faces", sample(g, chain(g), "sdxl shallow")[0])
    result = server.run(g)
    assert {g.prompt[node]["class_type"] for node in result.cached} <= {"TestClipVision"}
    return result.tensor("faces")


def test_a_chain_of_faces_on_sdxl_gives_the_same_bits_before_between_and_after_transformers(faces_server):
    server = faces_server
    server.forget()
    before = faces(server)
    alone = {}
    for file in transformers.FILES:
        alone[file] = transformers.latent(server, transformers.adapted(file), file)
        assert torch.equal(faces(server), before)
    g = Graph()
    for file in transformers.FILES:  # all in one run, on either side of the faces
        family = transformers.family_of(file)
        model = transformers.adapted(file)(g, transformers.model(g, family))
        g.save(file, transformers.sample(g, model, family)[0])
        if file == transformers.XLABS:
            g.save("faces", sample(g, chain(g), "sdxl shallow")[0])
    together = server.run(g)
    assert torch.equal(together.tensor("faces"), before)
    for file in transformers.FILES:
        assert torch.equal(together.tensor(file), alone[file])
