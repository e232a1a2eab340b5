"""One reference per frame, where others sample a batch some frames at a time: each frame keeps its own reference."""

from collections.abc import Callable
from typing import Any

import pytest

from harness.graph import Link
from harness.sampling import sample
from harness.wiring import Wiring

FRAMES = 5


def core_windows(**more: Any) -> Callable[[Wiring, Link], Link]:
    """ComfyUI's own context windows: of three frames, two at a time the same."""
    named = {"context_schedule": "standard_static", "fuse_method": "pyramid"}  # whose defaults old releases do not tell
    widgets = named | {"context_length": 3, "context_overlap": 1, "dim": 0} | more
    return lambda w, model: w.add("ContextWindowsManual", model=model, **widgets)[0]


WINDOWS: dict[str, Callable[[Wiring, Link], Link]] = {
    "with an anchor frame": core_windows(causal_window_fix=True),
    "without": core_windows(causal_window_fix=False),
    "in a loop": core_windows(context_schedule="looped_uniform", closed_loop=True, causal_window_fix=False),
    "AnimateDiff": lambda w, model: w.graph.add("TestFrameWindows", model=model, length=2)[0],
}


def pictures(w: Wiring, *seeds: int) -> Link:
    batch = w.image(seeds[0])
    for seed in seeds[1:]:
        batch = w.graph.add("ImageBatch", image1=batch, image2=w.image(seed))[0]
    return batch


@pytest.fixture(scope="module", params=WINDOWS)
def latents(request, server):
    """Every way to sample with and without windows and references, each under its name."""
    w, windows = Wiring(server, batch=FRAMES), WINDOWS[request.param]
    batch = pictures(w, 1, 2, 3, 4, 5)
    models = {
        "alone": windows(w, w.model),
        "idle": windows(w, w.add("IPAdapterBatch", image=batch, start_at=0.4, end_at=0.6)[0]),
        "behind": windows(w, w.add("IPAdapterBatch", image=batch)[0]),
        "before": w.add("IPAdapterBatch", image=batch, model=windows(w, w.model))[0],
        "other": windows(w, w.add("IPAdapterBatch", image=pictures(w, 1, 2, 3, 9, 5))[0]),
    }
    for name, model in models.items():
        w.graph.save(name, sample(w.graph, model, batch=FRAMES, steps=2)[0])
    result = server.run(w.graph)
    return {name: result.tensor(name) for name in models}


def test_another_reference_for_a_frame_changes_that_frame_alone(latents):
    one, two = latents["behind"], latents["other"]
    assert [bool((one[frame] != two[frame]).any()) for frame in range(FRAMES)] == [False, False, False, True, False]


def test_windows_are_as_without_us_at_weight_0_and_before_or_behind(latents):
    assert latents["idle"].equal(latents["alone"])
    assert latents["before"].equal(latents["behind"]) and not latents["before"].equal(latents["alone"])
