"""UNets with attentions along the frames, as Stable Video Diffusion has: image prompts act in those of a frame only."""

from collections import Counter

from harness.graph import Link
from harness.sampling import TOKENS
from harness.wiring import Wiring


def operations(server, frames: int, prompt: bool) -> Counter[str]:
    """What one step of the sampler does."""
    w = Wiring(server)
    w.model = w.graph.add("TestVideoModel", text_width=768)[0]
    model: Link = w.add("IPAdapterAdvanced")[0] if prompt else w.model
    links = {
        name: w.graph.add("TestConditioning", family="sd15", seed=seed, tokens=TOKENS)[0]
        for name, seed in (("positive", 10), ("negative", 20))
    }
    latent = w.graph.add("EmptyLatentImage", width=64, height=64, batch_size=frames)[0]
    counted = w.graph.add("TestCountedStep", model=model, latent_image=latent, **links)
    return Counter(server.run(w.graph).outputs[counted.id]["counts"][0])


def test_as_many_frames_as_a_level_has_tokens_make_no_image_attention_more(server):
    """Four frames on the level of two by two tokens: both attentions have four tokens and the same address."""
    added = []
    for frames in (3, 4):
        counts = operations(server, frames, prompt=True)
        counts.subtract(operations(server, frames, prompt=False))
        added.append({name: count for name, count in counts.items() if count})
    assert added[0] and added[0] == added[1]


def test_outside_of_its_steps_a_prompt_leaves_a_video_model_as_it_is(server):
    w = Wiring(server, batch=4)
    w.model = w.graph.add("TestVideoModel", text_width=768)[0]
    idle = w.add("IPAdapterAdvanced", start_at=0.4, end_at=0.6)[0]
    latents = w.latents(2, idle=idle, acting=w.add("IPAdapterAdvanced")[0])
    assert latents["idle"].equal(latents["bare"])
    assert latents["acting"].isfinite().all() and not latents["acting"].equal(latents["bare"])
